package history

import (
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// addFiles adds the rows of a message's files, before the message itself. state
// decides the state of each. A file that is a message of its own has the
// message's id.
func (h *History) addFiles(tx *store.Tx, m *store.Message, list []*e2e.File, state func(*store.File) (string, error)) error {
	for i, r := range list {
		f := &store.File{
			Account: h.account, ID: m.ID, Message: m.ID, Peer: m.Peer, Direction: m.Direction, Place: i,
			ChangedMS: h.now().UnixMilli(), ExpiresMS: r.GetExpiresMs(), FileDetails: detailsOf(r),
		}
		if len(r.GetId()) == e2e.IDSize {
			f.ID = store.MessageID(r.GetId())
		}
		if _, err := tx.File(h.account, f.ID); !isNotFound(err) {
			if err != nil {
				return err
			}
			// A file of another message has that id, so this one gets a new id.
			if f.ID, err = NewID(); err != nil {
				return err
			}
		}
		f.Name = h.safeName(f.Name)
		var err error
		if f.State, err = state(f); err != nil {
			return err
		}
		if err := tx.InsertFile(f); err != nil {
			return err
		}
		h.FileExpires(tx, f.ExpiresMS)
	}
	if len(list) > 0 {
		tx.OnCommit(h.hooks.FilesChanged)
	}
	return nil
}

// FileExpires reports, after the commit, when a file expires; 0: never.
func (h *History) FileExpires(tx *store.Tx, ms int64) {
	if ms > 0 {
		d := max(time.UnixMilli(ms).Sub(h.profileTime()), 0)
		tx.OnCommit(func() { h.hooks.FileExpires(d) })
	}
}

// offered decides the first state of a file that a peer offers: it is fetched
// without asking if the contact's policy allows this size.
func (h *History) offered(tx *store.Tx, contact bool) func(*store.File) (string, error) {
	return func(f *store.File) (string, error) {
		if !contact {
			return store.FileOffered, nil
		}
		limit, err := h.trust.AutoAccept(tx, h.account, f.Peer, h.autoAccept)
		if err == nil && limit > 0 && f.Size >= 0 && uint64(f.Size) <= limit { // a limit of 0 does not admit even an empty file
			return store.FileFetching, nil
		}
		return store.FileOffered, err
	}
}

// sentElsewhere is the state of a file that another own device sent.
func sentElsewhere(*store.File) (string, error) { return store.FileSent, nil }

// showFile shows a file of a message.
func (h *History) showFile(f *store.File, m *store.Message) local.File {
	out := local.File{
		ID:       IDText(f.ID),
		FileInfo: local.FileInfo{Name: f.Name, Size: f.Size, Type: f.Type},
		State:    f.State, Path: f.Path, Expires: TimeMS(f.ExpiresMS), Thumbnail: len(f.Thumbnail) > 0,
	}
	if f.ID != f.Message {
		out.MessageID = IDText(f.Message)
	}
	switch f.State {
	case store.FileSent, store.FileDone:
		out.State = m.State
	case store.FileDeclined:
		if m.Direction == store.Out {
			out.Error = StateError(local.StateFailed, ReasonDeclined, "the peer")
		}
	case store.FileFailed:
		out.Error = local.Errorf(local.CodeIO, "%s", f.Reason)
		if m.Direction == store.Out {
			out.Error = StateError(local.StateFailed, m.Reason, "the peer")
			if out.Error == nil {
				out.Error = local.Errorf(local.CodeIO, "the file could not be sent")
			}
			if f.Reason != "" {
				out.Error.Message = f.Reason
			}
		}
	}
	return out
}

// fileEvent shows a file as an event of its arrival.
func (h *History) fileEvent(tx *store.Tx, f *store.File, m *store.Message) (local.Event, error) {
	ev, err := h.eventOf(tx, m)
	if err != nil {
		return ev, err
	}
	shown := h.showFile(f, m)
	ev.ID, ev.Type, ev.File = IDText(f.ID), local.TypeFile, &shown
	return ev, nil
}

// tellFile appends an event about the new state of a file.
func (h *History) tellFile(tx *store.Tx, f *store.File, m *store.Message) error {
	ev, err := h.fileEvent(tx, f, m)
	if err != nil {
		return err
	}
	now := local.Time{Time: h.now()}
	ev.ID, ev.Seq, ev.Time, ev.Received = "", 0, now, now
	ev.Type, ev.FileState, ev.File = local.TypeFileState, ev.File, nil
	_, err = h.journal.Append(tx, h.account, ev)
	return err
}

// saveFileState moves a file to a state, with its event.
func (h *History) saveFileState(tx *store.Tx, f *store.File, m *store.Message, state string) error {
	f.State, f.ChangedMS = state, h.now().UnixMilli()
	if err := tx.SaveFile(f); err != nil {
		return err
	}
	return h.tellFile(tx, f, m)
}

// messageOf returns the message that a file belongs to, even if its text is damaged.
func (h *History) messageOf(tx *store.Tx, f *store.File) (*store.Message, error) {
	m, err := tx.Message(h.account, f.Message)
	if store.DamagedValue(err) != nil {
		err = nil
	}
	return m, err
}

// hasArrived reports whether the peer has a message.
func hasArrived(m *store.Message) bool {
	return m.State == local.StateDelivered || m.State == local.StateRead
}
