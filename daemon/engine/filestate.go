package engine

import (
	"context"
	"time"

	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// endFiles ends the files of an own message that will not be delivered any
// more: uploads end, and what the server has is deleted.
func (e *Engine) endFiles(tx *store.Tx, id store.MessageID) error {
	list, err := tx.FilesOf(e.account, id)
	if err != nil || len(list) == 0 {
		return err
	}
	m, err := e.messageOf(tx, &list[0])
	if err != nil {
		return err
	}
	for i := range list {
		if err := e.endFile(tx, &list[i], m); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) endFile(tx *store.Tx, f *store.File, m *store.Message) error {
	if f.State != store.FileSending && f.State != store.FileSent {
		return nil
	}
	was, state := f.State, store.FileFailed
	switch {
	case m.State == local.StateExpired:
		state = store.FileExpired
	case m.Reason == reasonCancelled:
		state = store.FileCancelled
	case m.Reason == reasonDeclined:
		state = store.FileDeclined
	}
	if err := e.saveFileState(tx, f, m, state); err != nil {
		return err
	}
	tx.OnCommit(e.onFiles)
	if was == store.FileSent {
		return e.settled(tx, f)
	}
	return nil
}

// settled looks what becomes of a blob when one of its recipients wants it no more.
func (e *Engine) settled(tx *store.Tx, f *store.File) error {
	if err := e.dropBlob(tx, f); err != nil {
		return err
	}
	return e.arrived(tx, f)
}

// dropBlob has the blob of a file deleted if no other message needs it.
func (e *Engine) dropBlob(tx *store.Tx, f *store.File) error {
	list, err := tx.FilesByTransfer(e.account, f.Transfer)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID != f.ID && (other.State == store.FileSent || other.State == store.FileSending) {
			return nil
		}
	}
	return e.deleteBlob(tx, 0, f.Blob)
}

// deleteBlob has the files service delete a blob; transfer (0: none) is the row
// of its upload, which is done with.
func (e *Engine) deleteBlob(tx *store.Tx, transfer int64, blob string) error {
	if transfer > 0 {
		if err := tx.DeleteTransfer(transfer); err != nil {
			return err
		}
	}
	if blob == "" {
		return nil
	}
	tx.OnCommit(e.onFiles)
	return tx.InsertTransfer(&store.Transfer{
		Account: e.account, Kind: store.TransferDelete, CreatedMS: e.profileTime().UnixMilli(), Body: []byte(blob),
	})
}

// FileFetched records that a file is whole and verified here. When that is so
// for all files of a message, its receipts are due. transfer (0: none) is the
// download, which is done with.
func (e *Engine) FileFetched(ctx context.Context, id store.MessageID, path string, transfer int64) error {
	return toLocal(e.share(func(tx *store.Tx) error {
		if transfer > 0 {
			if err := tx.DeleteTransfer(transfer); err != nil {
				return err
			}
		}
		f, err := tx.File(e.account, id)
		if isNotFound(err) {
			return nil // its history was deleted meanwhile
		}
		if err != nil {
			return err
		}
		if path != "" {
			f.Path = path
		}
		if f.Direction != store.In || f.State == store.FileFetched {
			return tx.SaveFile(f)
		}
		m, err := e.messageOf(tx, f)
		if err != nil {
			return err
		}
		f.Reason = ""
		if err := e.saveFileState(tx, f, m, store.FileFetched); err != nil {
			return err
		}
		return e.wholeMessage(tx, m)
	}, nil))
}

// wholeMessage owes the receipts of an incoming message once all its files are here.
func (e *Engine) wholeMessage(tx *store.Tx, m *store.Message) error {
	whole, err := e.whole(tx, m.ID)
	if err != nil || !whole {
		return err
	}
	if err := e.owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_DELIVERED); err != nil || m.Unread {
		return err
	}
	return e.owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_READ)
}

// whole reports whether all files of an incoming message are here.
func (e *Engine) whole(tx *store.Tx, id store.MessageID) (bool, error) {
	list, err := tx.FilesOf(e.account, id)
	if err != nil {
		return false, err
	}
	for _, f := range list {
		// A text has come whole without those of its files that nobody here wants.
		declined := f.State == store.FileDeclined && f.ID != f.Message
		if f.State != store.FileFetched && !declined {
			return false, nil
		}
	}
	return true, nil
}

// FetchFailed records that a file will not come: state is store.FileFailed or
// store.FileExpired, text is for people. transfer is as in FileFetched.
func (e *Engine) FetchFailed(ctx context.Context, id store.MessageID, state, text string, transfer int64) error {
	return toLocal(e.share(func(tx *store.Tx) error {
		if transfer > 0 {
			if err := tx.DeleteTransfer(transfer); err != nil {
				return err
			}
		}
		f, err := tx.File(e.account, id)
		if isNotFound(err) {
			return nil
		}
		if err != nil || f.Direction != store.In || f.State == store.FileFetched || f.State == store.FileDeclined || f.State == state && f.Reason == text {
			return err
		}
		m, err := e.messageOf(tx, f)
		if err != nil {
			return err
		}
		f.Reason = text
		return e.saveFileState(tx, f, m, state)
	}, nil))
}

// CancelFile withdraws an own file, named by any id of it, or all files of a
// message: the blob is deleted for all its recipients. Messages that were not
// handed to the server are withdrawn with it. What was delivered stays so, and its
// blob is deleted without waiting any longer. A file that came is declined.
func (e *Engine) CancelFile(ctx context.Context, text string) (local.SendResult, error) {
	var out local.SendResult
	err := e.share(func(tx *store.Tx) error {
		list, err := e.filesNamed(tx, text)
		if err != nil {
			return err
		}
		if list[0].Direction == store.In {
			out, err = e.declineFiles(tx, list)
			return err
		}
		cancelled := false
		for i := range list {
			done, err := e.cancelShared(tx, &list[i])
			if err != nil {
				return err
			}
			cancelled = cancelled || done
		}
		m, err := e.messageOf(tx, &list[0])
		if err != nil {
			return err
		}
		changed := true
		switch {
		case cancelled:
		case list[0].State == store.FileCancelled: // a second time
			changed = false
		default:
			return local.Errorf(local.CodeUsage, "the file is %s; there is nothing to cancel", e.showFile(&list[0], m).State)
		}
		if out, err = sendResult(tx, m); err != nil {
			return err
		}
		if !received(m) {
			out.State, out.Error = local.FileCancelled, nil // it is what was asked for
		}
		out.Changed = &changed
		return nil
	}, nil)
	return out, toLocal(err)
}

// filesNamed returns the files that an id means: all those of a message, or one.
func (e *Engine) filesNamed(tx *store.Tx, text string) ([]store.File, error) {
	if id, err := parseID(text); err == nil {
		list, err := tx.FilesOf(e.account, id)
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	f, n, err := journal.FileNamed(tx, e.account, text)
	if err != nil {
		return nil, err
	}
	if n != 1 {
		return nil, local.NotOneFile(n, text)
	}
	return []store.File{*f}, nil
}

// cancelShared cancels a file and all that share its blob. It reports whether
// there was something to cancel.
func (e *Engine) cancelShared(tx *store.Tx, f *store.File) (bool, error) {
	list, err := tx.FilesByTransfer(e.account, f.Transfer)
	if err != nil {
		return false, err
	}
	if len(list) == 0 { // another own device sent it
		list = []store.File{*f}
	}
	any := false
	for i := range list {
		done, err := e.cancelFile(tx, &list[i])
		if err != nil {
			return any, err
		}
		any = any || done
	}
	return any, nil
}

func (e *Engine) cancelFile(tx *store.Tx, f *store.File) (bool, error) {
	m, err := e.messageOf(tx, f)
	if err != nil {
		return false, err
	}
	if f.State != store.FileSending && f.State != store.FileSent {
		return false, nil
	}
	if received(m) && m.Peer != e.selfPeer {
		return true, e.done(tx, f) // its bytes are of no use to anybody any more
	}
	o, err := tx.OutgoingHead(e.account, m.ID)
	if err != nil && !isNotFound(err) {
		return false, err
	}
	if err == nil && (o.Phase == store.PhaseUploading || o.Phase == store.PhaseQueued && o.N == 0 || o.Phase == store.PhaseHeld && o.N == 0) {
		return true, e.fail(tx, o, local.StateFailed, reasonCancelled)
	}
	if m.Kind == int32(e2e.Kind_KIND_FILE) && advances(m.State, local.StateFailed) {
		return true, e.advance(tx, m, local.StateFailed, reasonCancelled)
	}
	if err := e.saveFileState(tx, f, m, store.FileCancelled); err != nil {
		return false, err
	}
	return true, e.dropBlob(tx, f)
}

// expireFiles ends what the server has dropped: an incoming file that was not
// fetched, an own one that was not delivered.
func (e *Engine) expireFiles() error {
	now := e.profileTime()
	var next int64
	more := false
	err := e.update(func(tx *store.Tx) error {
		list, err := tx.ExpiredFiles(e.account, now.UnixMilli(), expireBatch)
		if err != nil {
			return err
		}
		for i := range list {
			if err := e.expireFile(tx, &list[i]); err != nil {
				return err
			}
		}
		more = len(list) == expireBatch
		next, err = tx.NextFileExpiry(e.account)
		return err
	})
	switch {
	case err != nil:
		return err
	case more:
		e.at(taskFiles, 0)
	case next > 0:
		e.at(taskFiles, max(time.UnixMilli(next).Sub(now), time.Millisecond))
	}
	return nil
}

func (e *Engine) expireFile(tx *store.Tx, f *store.File) error {
	m, err := e.messageOf(tx, f)
	if isNotFound(err) {
		return tx.DeleteFiles(e.account)
	}
	if err != nil {
		return err
	}
	if f.Direction == store.Out && received(m) {
		return e.done(tx, f)
	}
	if err := e.saveFileState(tx, f, m, store.FileExpired); err != nil {
		return err
	}
	tx.OnCommit(e.onFiles)
	return e.advance(tx, m, local.StateExpired, reasonExpired)
}

// acceptRequested looks again at the files of strangers that have become contacts.
func (e *Engine) acceptRequested() error { return e.update(e.acceptRequestedIn) }

func (e *Engine) acceptRequestedIn(tx *store.Tx) error {
	for after := int64(0); ; {
		list, err := tx.RequestFiles(e.account, after, expireBatch)
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			f := &list[i]
			after = f.Arrival
			state, err := e.received(tx, true)(f)
			if err != nil {
				return err
			}
			if state == f.State {
				continue
			}
			m, err := e.messageOf(tx, f)
			if err != nil {
				return err
			}
			if err := e.saveFileState(tx, f, m, state); err != nil {
				return err
			}
			tx.OnCommit(e.onFiles)
		}
	}
}
