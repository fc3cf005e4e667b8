package engine

import (
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// baseName stands in for Options.SafeName.
func baseName(name string) string { return filepath.Base(filepath.Clean("/" + name)) }

// referencesOf returns the files of a content, nil if it has none.
func referencesOf(c *e2e.Content) []*e2e.File {
	if f := c.GetFile(); f != nil {
		return []*e2e.File{f}
	}
	return c.GetText().GetFiles()
}

// addFiles adds the rows of a message's files, before the message itself. state
// is that of each; one that is a message of its own has the message's id.
func (e *Engine) addFiles(tx *store.Tx, m *store.Message, list []*e2e.File, state func(*store.File) (string, error)) error {
	for i, r := range list {
		f := &store.File{
			Account: e.account, ID: m.ID, Message: m.ID, Peer: m.Peer, Direction: m.Direction, Place: i,
			ChangedMS: e.now().UnixMilli(), ExpiresMS: r.GetExpiresMs(), FileDetails: detailsOf(r),
		}
		if len(r.GetId()) == e2e.IDSize {
			f.ID = store.MessageID(r.GetId())
		}
		if _, err := tx.File(e.account, f.ID); !isNotFound(err) {
			if err != nil {
				return err
			}
			// Another message's file has that id; this one gets an id of mine.
			if f.ID, err = newID(); err != nil {
				return err
			}
		}
		f.Name = e.safeName(f.Name)
		var err error
		if f.State, err = state(f); err != nil {
			return err
		}
		if err := tx.InsertFile(f); err != nil {
			return err
		}
		e.expiresAt(tx, f.ExpiresMS)
	}
	if len(list) > 0 {
		tx.OnCommit(e.onFiles)
	}
	return nil
}

// expiresAt makes the expiry of a file due.
func (e *Engine) expiresAt(tx *store.Tx, ms int64) {
	if ms > 0 {
		d := max(time.UnixMilli(ms).Sub(e.profileTime()), 0)
		tx.OnCommit(func() { e.at(taskFiles, d) })
	}
}

func detailsOf(r *e2e.File) store.FileDetails {
	d := store.FileDetails{
		Name: r.GetName(), Type: r.GetType(), Size: int64(r.GetSize()), Blob: r.GetBlob(), Key: r.GetKey(), SHA256: r.GetSha256(),
	}
	if t := r.GetThumbnail(); t != nil {
		d.Thumbnail, d.Width, d.Height = t.GetJpeg(), t.GetWidth(), t.GetHeight()
	}
	return d
}

// referenceOf is what the peer gets of an own file. One that is not uploaded yet
// is a draft.
func referenceOf(f *store.File) *e2e.File {
	r := &e2e.File{
		Blob: f.Blob, Key: f.Key, Size: uint64(max(f.Size, 0)), Sha256: f.SHA256, Name: f.Name, Type: f.Type, ExpiresMs: f.ExpiresMS,
	}
	if f.ID != f.Message {
		r.Id = f.ID[:]
	}
	if len(f.Thumbnail) > 0 {
		r.Thumbnail = &e2e.Thumbnail{Jpeg: f.Thumbnail, Width: f.Width, Height: f.Height}
	}
	return r
}

// received says what becomes of a file that a peer offers: it is fetched unasked
// if the contact's policy takes one of this size.
func (e *Engine) received(tx *store.Tx, contact bool) func(*store.File) (string, error) {
	return func(f *store.File) (string, error) {
		if !contact {
			return store.FileOffered, nil
		}
		limit, err := e.trust.AutoAccept(tx, e.account, f.Peer, e.cfg.AutoAccept)
		if err == nil && limit > 0 && f.Size >= 0 && uint64(f.Size) <= limit { // an empty file is not under a limit of none
			return store.FileFetching, nil
		}
		return store.FileOffered, err
	}
}

// sentElsewhere is the state of a file that another own device sent.
func sentElsewhere(*store.File) (string, error) { return store.FileSent, nil }

// showFile shows a file of a message.
func (e *Engine) showFile(f *store.File, m *store.Message) local.File {
	out := local.File{
		ID:       idText(f.ID),
		FileInfo: local.FileInfo{Name: f.Name, Size: f.Size, Type: f.Type},
		State:    f.State, Path: f.Path, Expires: localMS(f.ExpiresMS), Thumbnail: len(f.Thumbnail) > 0,
	}
	if f.ID != f.Message {
		out.MessageID = idText(f.Message)
	}
	switch f.State {
	case store.FileSent, store.FileDone:
		out.State = m.State
	case store.FileDeclined:
		if m.Direction == store.Out {
			out.Error = stateError(local.StateFailed, reasonDeclined, "the peer")
		}
	case store.FileFailed:
		out.Error = local.Errorf(local.CodeIO, "%s", f.Reason)
		if m.Direction == store.Out {
			out.Error = stateError(local.StateFailed, m.Reason, "the peer")
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
func (e *Engine) fileEvent(tx *store.Tx, f *store.File, m *store.Message) (local.Event, error) {
	ev, err := e.eventOf(tx, m)
	if err != nil {
		return ev, err
	}
	shown := e.showFile(f, m)
	ev.ID, ev.Type, ev.File = idText(f.ID), local.TypeFile, &shown
	return ev, nil
}

// eventOf is what the events of a message and of its files have in common.
func (e *Engine) eventOf(tx *store.Tx, m *store.Message) (local.Event, error) {
	peer, err := peerName(tx, m.Peer)
	if err != nil {
		return local.Event{}, err
	}
	c, err := tx.Contact(e.account, m.Peer)
	if err != nil && damaged(err) == nil { // else its trust is unknown
		return local.Event{}, err
	}
	ev := local.Event{
		Seq: m.Seq, ID: idText(m.ID), Account: e.self.String(), Peer: peer, Direction: local.DirectionIn,
		Time: localMS(m.SentMS), Received: localMS(m.ReceivedMS), Trust: trust.TrustState(c),
	}
	if peer == e.self.String() {
		ev.Trust = local.TrustVerified
	}
	if m.Direction == store.Out {
		ev.Direction = local.DirectionOut
	}
	if d, err := key.DeviceIDFromBytes(m.Device); err == nil {
		ev.Device = d.String()
	}
	return ev, nil
}

// tellFile appends an event that says that a file's state has changed.
func (e *Engine) tellFile(tx *store.Tx, f *store.File, m *store.Message) error {
	ev, err := e.fileEvent(tx, f, m)
	if err != nil {
		return err
	}
	now := local.Time{Time: e.now()}
	ev.ID, ev.Seq, ev.Time, ev.Received = "", 0, now, now
	ev.Type, ev.FileState, ev.File = local.TypeFileState, ev.File, nil
	_, err = e.journal.Append(tx, e.account, ev)
	return err
}

// saveFileState moves a file to a state and tells so.
func (e *Engine) saveFileState(tx *store.Tx, f *store.File, m *store.Message, state string) error {
	f.State, f.ChangedMS = state, e.now().UnixMilli()
	if err := tx.SaveFile(f); err != nil {
		return err
	}
	return e.tellFile(tx, f, m)
}

// contentOf is what a message to a peer says, from history.
func contentOf(m *store.Message) (*e2e.Content, error) {
	if m.Kind == int32(e2e.Kind_KIND_FILE) {
		f := new(e2e.File)
		err := proto.Unmarshal(m.Body, f)
		return &e2e.Content{Kind: e2e.Kind_KIND_FILE, Body: &e2e.Content_File{File: f}}, err
	}
	text := new(e2e.Text)
	err := proto.Unmarshal(m.Body, text)
	return &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: text}}, err
}

// bodyOf encodes what history keeps of a content.
func bodyOf(c *e2e.Content) ([]byte, error) {
	if f := c.GetFile(); f != nil {
		return proto.Marshal(f)
	}
	text := c.GetText()
	if text == nil {
		text = new(e2e.Text) // a request without text
	}
	return proto.Marshal(text)
}

// messageOf returns the message that a file belongs to, even if its text is damaged.
func (e *Engine) messageOf(tx *store.Tx, f *store.File) (*store.Message, error) {
	m, err := tx.Message(e.account, f.Message)
	if damaged(err) != nil {
		err = nil
	}
	return m, err
}
