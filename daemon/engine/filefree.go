package engine

import (
	"context"
	"time"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// arrivedGrace is how long the server keeps a file that every recipient has
// fetched: their other devices may want it, too (PROTOCOL.md 6.1).
const arrivedGrace = time.Hour

// received reports whether the peer has a message.
func received(m *store.Message) bool {
	return m.State == local.StateDelivered || m.State == local.StateRead
}

// filesArrived looks at the files of an own message that was delivered.
func (e *Engine) filesArrived(tx *store.Tx, id store.MessageID) error {
	list, err := tx.FilesOf(e.account, id)
	if err != nil {
		return err
	}
	for i := range list {
		if err := e.arrived(tx, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// arrived has the blob of a file deleted soon if every recipient has fetched it,
// or does not want it: until then it counts towards the account's quota.
func (e *Engine) arrived(tx *store.Tx, f *store.File) error {
	list, err := e.wantedBy(tx, f)
	if err != nil || len(list) == 0 {
		return err
	}
	for i := range list {
		f := &list[i]
		at := e.profileTime()
		if !f.Once {
			at = at.Add(arrivedGrace)
		}
		if ms := at.UnixMilli(); f.ExpiresMS == 0 || f.ExpiresMS > ms {
			f.ExpiresMS = ms
			if err := tx.SaveFile(f); err != nil {
				return err
			}
		}
		e.expiresAt(tx, f.ExpiresMS)
	}
	return nil
}

// wantedBy returns the rows of a blob that keep it at the server, if all of their
// recipients have fetched it; else none.
func (e *Engine) wantedBy(tx *store.Tx, f *store.File) ([]store.File, error) {
	if f.Direction != store.Out || f.Transfer == 0 {
		return nil, nil // another own device sent it, and sees to it
	}
	list, err := tx.FilesByTransfer(e.account, f.Transfer)
	if err != nil {
		return nil, err
	}
	var out []store.File
	for _, other := range list {
		switch other.State {
		case store.FileSending:
			return nil, nil
		case store.FileSent:
			m, err := e.messageOf(tx, &other)
			if isNotFound(err) {
				continue // its history was deleted
			}
			if err != nil {
				return nil, err
			}
			if !received(m) || m.Peer == e.selfPeer {
				return nil, nil // a note to oneself is for devices to come
			}
			out = append(out, other)
		}
	}
	return out, nil
}

// done ends a delivered file whose blob nobody needs any more.
func (e *Engine) done(tx *store.Tx, f *store.File) error {
	f.State = store.FileDone
	if err := tx.SaveFile(f); err != nil {
		return err
	}
	return e.dropBlob(tx, f)
}

// FreeFiles has the server delete at once what every recipient has fetched, and
// returns how many files and bytes that is.
func (e *Engine) FreeFiles(ctx context.Context) (files int, bytes int64, err error) {
	err = e.share(func(tx *store.Tx) error {
		files, bytes = 0, 0
		for after := int64(0); ; {
			page, err := tx.SentFiles(e.account, after, expireBatch)
			if err != nil || len(page) == 0 {
				return err
			}
			for i := range page {
				after = page[i].Arrival
				list, err := e.wantedBy(tx, &page[i])
				if err != nil {
					return err
				}
				if len(list) == 0 || list[0].ID != page[i].ID {
					continue // not all have it, or its blob was freed with the first of its rows
				}
				for j := range list {
					if err := e.done(tx, &list[j]); err != nil {
						return err
					}
				}
				files++
				if n, err := seal.SealedFileSize(page[i].Size); err == nil {
					bytes += n
				}
			}
		}
	}, nil)
	return files, bytes, toLocal(err)
}

// declineFiles refuses files that came, which their sender is told.
func (e *Engine) declineFiles(tx *store.Tx, list []store.File) (local.SendResult, error) {
	var out local.SendResult
	m, err := e.messageOf(tx, &list[0])
	if err != nil {
		return out, err
	}
	declined := false
	for i := range list {
		f := &list[i]
		if f.State != store.FileOffered && f.State != store.FileFetching {
			continue
		}
		declined = true
		if err := e.saveFileState(tx, f, m, store.FileDeclined); err != nil {
			return out, err
		}
		if err := e.owe(tx, m.Peer, f.ID, e2e.ReceiptState_RECEIPT_STATE_DECLINED); err != nil {
			return out, err
		}
	}
	if !declined && list[0].State != store.FileDeclined {
		return out, local.Errorf(local.CodeUsage, "the file is %s; there is nothing to decline", e.showFile(&list[0], m).State)
	}
	if declined {
		tx.OnCommit(e.onFiles) // a fetch that runs unasked ends
	}
	if declined && m.Kind == int32(e2e.Kind_KIND_TEXT) {
		if err := e.wholeMessage(tx, m); err != nil {
			return out, err
		}
	}
	peer, err := peerName(tx, m.Peer)
	return local.SendResult{
		ID: idText(list[0].ID), Peer: peer, State: local.FileDeclined, Time: localMS(list[0].ChangedMS), Changed: &declined,
	}, err
}

// declined takes note that the peer does not want files of mine.
func (e *Engine) declined(tx *store.Tx, in *incoming, r *e2e.Receipt) error {
	if in.addr == e.self {
		return nil
	}
	for _, b := range r.GetMessageIds() {
		f, err := tx.File(e.account, store.MessageID(b))
		if isNotFound(err) || err == nil && (f.Direction != store.Out || f.Peer != in.peer || f.State != store.FileSent) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := e.messageOf(tx, f)
		if err != nil {
			return err
		}
		if m.Kind == int32(e2e.Kind_KIND_FILE) {
			if err := e.advance(tx, m, local.StateFailed, reasonDeclined); err != nil {
				return err
			}
			if err := tx.AckOutgoing(e.account, m.ID, in.device); err != nil {
				return err
			}
			e.needless(tx, flightKey{id: m.ID, device: in.device})
			continue
		}
		if err := e.saveFileState(tx, f, m, store.FileDeclined); err != nil {
			return err
		}
		if err := e.settled(tx, f); err != nil {
			return err
		}
	}
	return nil
}
