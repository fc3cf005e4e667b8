package engine

import (
	"context"
	"encoding/binary"
	"fmt"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// QueueFiles queues messages with files, and one upload for each file, with its
// plan: one message for each file and recipient, or, with p.Attach, one for each
// recipient with all files. The messages wait in the outbox until FileUploaded.
// With a known idempotency key it returns the first messages and no uploads.
func (e *Engine) QueueFiles(ctx context.Context, p local.FileSendParams, files []store.FileDetails, plans [][]byte, fingerprint []byte) (store.QueuedFiles, error) {
	s := local.SendParams{
		Peers: p.Peers, Text: p.Text, ReplyTo: p.ReplyTo, Wait: p.Wait, Timeout: p.Timeout,
		IdempotencyKey: p.IdempotencyKey, Expires: p.Expires, Require: p.Require,
	}
	if s.Text == "" {
		s.Text = " " // checkParams demands a text
	}
	replyTo, err := checkParams(s)
	if err != nil {
		return store.QueuedFiles{}, err
	}
	var q store.QueuedFiles
	err = e.share(func(tx *store.Tx) (err error) {
		q, err = e.queueFiles(tx, s, p, replyTo, files, plans, fingerprint)
		return err
	}, nil)
	return q, err
}

func (e *Engine) queueFiles(tx *store.Tx, s local.SendParams, p local.FileSendParams, replyTo []byte, files []store.FileDetails, plans [][]byte, fingerprint []byte) (store.QueuedFiles, error) {
	var q store.QueuedFiles
	peers, err := e.recipients(tx, s)
	if err != nil {
		return q, err
	}
	var digest []byte
	if p.IdempotencyKey != "" {
		if digest, err = tx.Digest(idempotentFiles(p, peers, fingerprint)); err != nil {
			return q, err
		}
		ids, err := e.known(tx, p.IdempotencyKey, digest)
		if err != nil || ids != nil {
			return store.QueuedFiles{Messages: ids}, err
		}
	}
	if err := e.checkReply(tx, replyTo); err != nil {
		return q, err
	}
	for _, plan := range plans {
		t := &store.Transfer{Account: e.account, Kind: store.TransferUpload, CreatedMS: e.profileTime().UnixMilli(), Body: plan}
		if err := tx.InsertTransfer(t); err != nil {
			return q, err
		}
		q.Transfers = append(q.Transfers, t.ID)
	}
	queue := func(to recipient, c *e2e.Content, files []store.FileDetails, transfers []int64) error {
		id, err := e.queueUpload(tx, s, to, c, files, transfers)
		q.Messages = append(q.Messages, id)
		return err
	}
	if p.Attach {
		for _, to := range peers {
			text := &e2e.Text{Text: p.Text, ReplyTo: replyTo}
			if err := queue(to, &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: text}}, files, q.Transfers); err != nil {
				return q, err
			}
		}
	} else {
		for i := range files {
			for _, to := range peers {
				if err := queue(to, &e2e.Content{Kind: e2e.Kind_KIND_FILE}, files[i:i+1], q.Transfers[i:i+1]); err != nil {
					return q, err
				}
			}
		}
	}
	if p.IdempotencyKey != "" {
		err = tx.SetIdempotent(e.account, p.IdempotencyKey, store.Idempotent{Digest: digest, IDs: joinIDs(q.Messages)}, e.profileTime().UnixMilli())
	}
	return q, err
}

// queueUpload queues a message to one recipient whose files are not uploaded yet.
func (e *Engine) queueUpload(tx *store.Tx, s local.SendParams, to recipient, c *e2e.Content, files []store.FileDetails, transfers []int64) (store.MessageID, error) {
	id, err := history.NewID()
	if err != nil {
		return id, err
	}
	now := e.now()
	m := &store.Message{
		Account: e.account, ID: id, Peer: to.id, Direction: store.Out, Kind: int32(c.GetKind()), Device: e.device[:],
		SentMS: now.UnixMilli(), ReceivedMS: now.UnixMilli(), KeptMS: e.profileTime().UnixMilli(), State: local.StateQueued, ChangedMS: now.UnixMilli(),
	}
	var list []*e2e.File
	for i := range files {
		f := &store.File{
			Account: e.account, ID: id, Message: id, Peer: to.id, Direction: store.Out, Place: i, State: store.FileSending,
			Transfer: transfers[i], ChangedMS: now.UnixMilli(), FileDetails: files[i],
		}
		if c.GetKind() == e2e.Kind_KIND_TEXT {
			if f.ID, err = history.NewID(); err != nil {
				return id, err
			}
		}
		if err := tx.InsertFile(f); err != nil {
			return id, err
		}
		list = append(list, history.ReferenceOf(f))
	}
	history.SetReferences(c, list)
	if m.Body, err = history.BodyOf(c); err != nil {
		return id, fmt.Errorf("encode message: %w", err)
	}
	if err := e.history.AddMessage(tx, m); err != nil {
		return id, err
	}
	verified := s.Require == requireVerified
	if verified {
		if err := tx.SetMessageVerified(e.account, id); err != nil {
			return id, err
		}
	}
	if to.addr != e.self {
		added, err := e.trust.MakeContact(tx, e.account, to.id)
		if err != nil {
			return id, err
		}
		if added {
			tx.OnCommit(e.contactAdded)
		}
	}
	return id, e.enqueue(tx, &store.Outgoing{
		ID: id, Peer: to.id, Phase: store.PhaseUploading, Verified: verified, ExpiresMS: e.expiry(s.Expires), SentMS: now.UnixMilli(),
	}, c)
}

// idempotentFiles encodes the content that an idempotency key stands for.
func idempotentFiles(p local.FileSendParams, peers []recipient, fingerprint []byte) []byte {
	b := idempotentContent(local.SendParams{Text: p.Text, ReplyTo: p.ReplyTo}, peers)
	b = binary.BigEndian.AppendUint32(b, uint32(len(fingerprint)))
	b = append(b, fingerprint...)
	if p.Attach {
		return append(b, 'a')
	}
	return append(b, 'f')
}

// FileUploaded puts the reference into the messages of an upload, and sends those
// that wait for no other file. It ends the upload. If all its messages were
// withdrawn meanwhile, the blob is deleted.
func (e *Engine) FileUploaded(ctx context.Context, transfer int64, u store.UploadedFile) error {
	return e.share(func(tx *store.Tx) error {
		list, err := tx.FilesByTransfer(e.account, transfer)
		if err != nil {
			return err
		}
		wanted := false
		for i := range list {
			f := &list[i]
			if f.State != store.FileSending {
				continue
			}
			wanted = true
			f.State, f.ChangedMS, f.ExpiresMS = store.FileSent, e.now().UnixMilli(), u.ExpiresMS
			f.Blob, f.Key, f.Size, f.SHA256 = u.Blob, u.Key, u.Size, u.SHA256
			if err := tx.SaveFile(f); err != nil {
				return err
			}
			if err := e.sendIfUploaded(tx, f.Message); err != nil {
				return err
			}
		}
		if wanted {
			return tx.DeleteTransfer(transfer)
		}
		return e.history.DeleteBlob(tx, transfer, u.Blob)
	}, nil)
}

// sendIfUploaded sends a message if all its files are at the server.
func (e *Engine) sendIfUploaded(tx *store.Tx, id store.MessageID) error {
	files, err := tx.FilesOf(e.account, id)
	if err != nil {
		return err
	}
	m, err := tx.Message(e.account, id)
	if err != nil {
		return err
	}
	c, err := history.ContentOf(m)
	if err != nil {
		return fmt.Errorf("message %s: %w", history.IDText(id), err)
	}
	var list []*e2e.File
	expires := int64(0)
	for i := range files {
		f := &files[i]
		if f.State != store.FileSent {
			return nil
		}
		if f.ExpiresMS > 0 && (expires == 0 || f.ExpiresMS < expires) {
			expires = f.ExpiresMS
		}
		list = append(list, history.ReferenceOf(f))
	}
	history.SetReferences(c, list)
	if m.Body, err = history.BodyOf(c); err != nil {
		return err
	}
	if err := tx.SetMessageBody(e.account, id, m.Body); err != nil {
		return err
	}
	e.history.FileExpires(tx, expires)
	if m.Peer == e.selfPeer {
		if err := tx.DeleteOutgoing(e.account, id); err != nil {
			return err
		}
		if err := e.history.Advance(tx, m, local.StateDelivered, ""); err != nil {
			return err
		}
		return e.queueSync(tx, copyOf(e.self.String(), id, c))
	}
	body, err := encodeDraft(c)
	if err != nil {
		return err
	}
	if expires == 0 {
		expires = e.expiry(0)
	}
	if _, err := tx.Uploaded(e.account, id, body, expires); err != nil {
		return err
	}
	tx.OnCommit(func() { e.schedule(taskPump, 0) })
	return nil
}

// copyOf is the copy of a message for other own devices.
func copyOf(peer string, id store.MessageID, c *e2e.Content) *e2e.Sync {
	s := &e2e.Sync{Peer: peer, MessageId: id[:], What: &e2e.Sync_Sent{Sent: c.GetText()}}
	if f := c.GetFile(); f != nil {
		s.What = &e2e.Sync_SentFile{SentFile: f}
	}
	return s
}

// UploadFailed ends the messages that wait for an upload; see history.UploadFailed.
func (e *Engine) UploadFailed(ctx context.Context, transfer int64, reason, text string) error {
	return e.share(func(tx *store.Tx) error { return e.history.UploadFailed(tx, transfer, reason, text) }, nil)
}
