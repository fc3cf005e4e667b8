package history

import (
	"slices"

	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// FindPeer returns the id of a peer that the user names. An unknown name is an
// error: an empty answer would hide that it is misspelt.
func (h *History) FindPeer(tx *store.Tx, name string) (store.PeerID, error) {
	addr, err := h.trust.Resolve(tx, h.account, name)
	if err != nil {
		return 0, err
	}
	id, err := tx.FindPeer(h.account, addr.String())
	if isNotFound(err) {
		return 0, local.Errorf(local.CodeNotFound, "%s is not a contact, and has not written to you", addr)
	}
	return id, err
}

// Unread returns the unread messages of the peers that are named, of all if none
// is, oldest first: as events and as rows. It also counts held mail.
func (h *History) Unread(tx *store.Tx, from []string, limit int) (local.Events, []store.Message, error) {
	var out local.Events
	var peers []store.PeerID
	for _, name := range from {
		id, err := h.FindPeer(tx, name)
		if err != nil {
			return out, nil, err
		}
		peers = append(peers, id)
	}
	list, err := tx.Unread(h.account, peers, limit)
	if err != nil {
		return out, nil, err
	}
	if out.Held, err = h.heldMail(tx, peers); err != nil {
		return out, nil, err
	}
	out.Events, err = h.shown(tx, list)
	return out, list, err
}

// heldMail counts the messages that came under a changed key, from these peers or
// from all. They cannot be shown before the user accepts the key, and the user
// must not overlook them until then.
func (h *History) heldMail(tx *store.Tx, of []store.PeerID) ([]local.HeldMail, error) {
	peers, err := tx.ParkedPeers(h.account, store.ParkedChanged)
	if err != nil {
		return nil, err
	}
	var out []local.HeldMail
	for _, peer := range peers {
		if len(of) > 0 && !slices.Contains(of, peer) {
			continue
		}
		n, err := tx.CountParked(h.account, peer, store.ParkedChanged)
		if err != nil {
			return nil, err
		}
		name, err := PeerName(tx, peer)
		if err != nil {
			return nil, err
		}
		out = append(out, local.HeldMail{Peer: name, Count: n})
	}
	return out, nil
}

// MarkRead marks messages as read and owes the read receipts. It returns, for
// each peer, the ids that other own devices must learn about.
func (h *History) MarkRead(tx *store.Tx, list []store.Message) (map[store.PeerID][][]byte, error) {
	read := make(map[store.PeerID][][]byte)
	for i := range list {
		m := &list[i]
		was, err := tx.MarkRead(h.account, m.ID)
		if err != nil {
			return nil, err
		}
		if !was || m.Kind == int32(e2e.Kind_KIND_REQUEST) {
			continue
		}
		// A read receipt implies delivery, so with files it waits until they are here.
		whole, err := h.whole(tx, m.ID)
		if err != nil {
			return nil, err
		}
		if whole {
			if err := h.Owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_READ); err != nil {
				return nil, err
			}
		}
		read[m.Peer] = append(read[m.Peer], m.ID[:])
	}
	return read, nil
}

// UnreadUpTo returns the unread messages of a peer up to and including one, or
// all of them. At most limit are returned.
func (h *History) UnreadUpTo(tx *store.Tx, p local.ReadParams, limit int) ([]store.Message, error) {
	addr, err := h.trust.Resolve(tx, h.account, p.Peer)
	if err != nil {
		return nil, err
	}
	peer, err := tx.FindPeer(h.account, addr.String())
	if isNotFound(err) {
		return nil, local.Errorf(local.CodeNotFound, "there are no messages with %s", addr)
	}
	if err != nil {
		return nil, err
	}
	list, err := tx.Unread(h.account, []store.PeerID{peer}, limit)
	if err != nil || p.ID == "" {
		return list, err
	}
	id, err := ParseID(p.ID)
	if err != nil {
		return nil, local.Errorf(local.CodeNotFound, "message %q does not exist", p.ID)
	}
	m, err := tx.MessageHead(h.account, id)
	if isNotFound(err) || err == nil && (m.Peer != peer || m.Direction != store.In) {
		return nil, local.Errorf(local.CodeNotFound, "%s has sent no message with the id %s", addr, p.ID)
	}
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].ID == id {
			return list[:i+1], nil
		}
	}
	return nil, nil // it is read already
}

// Messages returns the last messages with a peer, oldest first. since and before
// are Unix milliseconds, 0 for no limit.
func (h *History) Messages(tx *store.Tx, name string, limit int, since, before int64) ([]local.Event, error) {
	addr, err := h.trust.Resolve(tx, h.account, name)
	if err != nil {
		return nil, err
	}
	peer, err := tx.FindPeer(h.account, addr.String())
	if isNotFound(err) {
		return nil, local.Errorf(local.CodeNotFound, "there are no messages with %s", addr)
	}
	if err != nil {
		return nil, err
	}
	list, err := tx.History(h.account, peer, limit, since, before)
	if err != nil {
		return nil, err
	}
	return h.shown(tx, list)
}

// Calls returns the last calls that have ended, with a peer or with all if name
// is empty, oldest first.
func (h *History) Calls(tx *store.Tx, name string, limit int) ([]local.Event, error) {
	peer, err := h.peerOrAll(tx, name)
	if err != nil {
		return nil, err
	}
	list, err := tx.MessagesOfKind(h.account, int32(e2e.Kind_KIND_CALL), peer, limit)
	if err != nil {
		return nil, err
	}
	return h.shown(tx, list)
}

// Files returns the last files with their present states, oldest first; name is
// as in Calls.
func (h *History) Files(tx *store.Tx, name string, limit int) ([]local.Event, error) {
	peer, err := h.peerOrAll(tx, name)
	if err != nil {
		return nil, err
	}
	list, err := tx.Files(h.account, peer, limit)
	if err != nil {
		return nil, err
	}
	out := make([]local.Event, 0, len(list))
	for i := range list {
		ev, err := h.listedFile(tx, &list[i])
		if isNotFound(err) {
			continue // its history was deleted
		}
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// peerOrAll is FindPeer, with 0 for an empty name.
func (h *History) peerOrAll(tx *store.Tx, name string) (store.PeerID, error) {
	if name == "" {
		return 0, nil
	}
	return h.FindPeer(tx, name)
}

func (h *History) listedFile(tx *store.Tx, f *store.File) (local.Event, error) {
	m, err := h.messageOf(tx, f)
	if err != nil {
		return local.Event{}, err
	}
	return h.fileEvent(tx, f, m)
}

// File describes a file, or the only file of a message, and returns its row.
func (h *History) File(tx *store.Tx, text string) (local.FileShown, *store.File, error) {
	var out local.FileShown
	f, n, err := journal.FileNamed(tx, h.account, text)
	if err != nil {
		return out, nil, err
	}
	if n != 1 {
		return out, nil, local.NotOneFile(n, text)
	}
	if out.Event, err = h.listedFile(tx, f); err != nil {
		return out, nil, err
	}
	out.Thumbnail, out.Width, out.Height = f.Thumbnail, int(f.Width), int(f.Height)
	return out, f, nil
}
