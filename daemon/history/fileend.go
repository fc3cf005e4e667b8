package history

import (
	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// fileBatch bounds how many files one query returns.
const fileBatch = 100

// endFiles ends the files of an own message that will not be delivered: uploads
// stop, and the server's copies are deleted.
func (h *History) endFiles(tx *store.Tx, id store.MessageID) error {
	list, err := tx.FilesOf(h.account, id)
	if err != nil || len(list) == 0 {
		return err
	}
	m, err := h.messageOf(tx, &list[0])
	if err != nil {
		return err
	}
	for i := range list {
		if err := h.endFile(tx, &list[i], m); err != nil {
			return err
		}
	}
	return nil
}

func (h *History) endFile(tx *store.Tx, f *store.File, m *store.Message) error {
	if f.State != store.FileSending && f.State != store.FileSent {
		return nil
	}
	was, state := f.State, store.FileFailed
	switch {
	case m.State == local.StateExpired:
		state = store.FileExpired
	case m.Reason == ReasonCancelled:
		state = store.FileCancelled
	case m.Reason == ReasonDeclined:
		state = store.FileDeclined
	}
	if err := h.saveFileState(tx, f, m, state); err != nil {
		return err
	}
	tx.OnCommit(h.hooks.FilesChanged)
	if was == store.FileSent {
		return h.recipientDone(tx, f)
	}
	return nil
}

// UploadFailed ends the messages that wait for an upload. reason is a
// store.ReasonFile, text is for people.
func (h *History) UploadFailed(tx *store.Tx, transfer int64, reason, text string) error {
	list, err := tx.FilesByTransfer(h.account, transfer)
	if err != nil {
		return err
	}
	for i := range list {
		f := &list[i]
		if f.State != store.FileSending {
			continue
		}
		f.Reason = text
		if err := tx.SaveFile(f); err != nil {
			return err
		}
		o, err := tx.OutgoingHead(h.account, f.Message)
		if isNotFound(err) {
			o = &store.Outgoing{ID: f.Message}
		} else if err != nil {
			return err
		}
		if err := h.Fail(tx, o, local.StateFailed, reason); err != nil {
			return err
		}
	}
	return nil
}

// CancelFile withdraws an own file, named by any of its ids, or all files of a
// message. The blob is deleted for all recipients, and messages that were not
// handed to the server are withdrawn with it. Delivered messages keep their
// state; their blob is deleted at once. A file of a peer is declined instead.
func (h *History) CancelFile(tx *store.Tx, text string) (local.SendResult, error) {
	list, err := h.filesNamed(tx, text)
	if err != nil {
		return local.SendResult{}, err
	}
	if list[0].Direction == store.In {
		return h.declineFiles(tx, list)
	}
	cancelled := false
	for i := range list {
		done, err := h.cancelShared(tx, &list[i])
		if err != nil {
			return local.SendResult{}, err
		}
		cancelled = cancelled || done
	}
	m, err := h.messageOf(tx, &list[0])
	if err != nil {
		return local.SendResult{}, err
	}
	changed := true
	switch {
	case cancelled:
	case list[0].State == store.FileCancelled: // a second time
		changed = false
	default:
		return local.SendResult{}, local.Errorf(local.CodeUsage, "the file is already %s, so it cannot be cancelled", h.showFile(&list[0], m).State)
	}
	out, err := h.SendResult(tx, m)
	if err != nil {
		return local.SendResult{}, err
	}
	if !hasArrived(m) {
		out.State, out.Error = local.FileCancelled, nil // the caller wanted that: no error
	}
	out.Changed = &changed
	return out, nil
}

// filesNamed returns the files that an id names: all those of a message, or one.
func (h *History) filesNamed(tx *store.Tx, text string) ([]store.File, error) {
	if id, err := ParseID(text); err == nil {
		list, err := tx.FilesOf(h.account, id)
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	f, n, err := journal.FileNamed(tx, h.account, text)
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
func (h *History) cancelShared(tx *store.Tx, f *store.File) (bool, error) {
	list, err := tx.FilesByTransfer(h.account, f.Transfer)
	if err != nil {
		return false, err
	}
	if len(list) == 0 { // another own device sent it
		list = []store.File{*f}
	}
	any := false
	for i := range list {
		done, err := h.cancelFile(tx, &list[i])
		if err != nil {
			return any, err
		}
		any = any || done
	}
	return any, nil
}

func (h *History) cancelFile(tx *store.Tx, f *store.File) (bool, error) {
	m, err := h.messageOf(tx, f)
	if err != nil {
		return false, err
	}
	if f.State != store.FileSending && f.State != store.FileSent {
		return false, nil
	}
	if hasArrived(m) {
		note, err := h.isSelf(tx, m.Peer)
		if err != nil {
			return false, err
		}
		if !note {
			return true, h.freeFile(tx, f) // every recipient has its bytes
		}
	}
	o, err := tx.OutgoingHead(h.account, m.ID)
	if err != nil && !isNotFound(err) {
		return false, err
	}
	if err == nil && (o.Phase == store.PhaseUploading || o.Phase == store.PhaseQueued && o.N == 0 || o.Phase == store.PhaseHeld && o.N == 0) {
		return true, h.Fail(tx, o, local.StateFailed, ReasonCancelled)
	}
	if m.Kind == int32(e2e.Kind_KIND_FILE) && advances(m.State, local.StateFailed) {
		return true, h.Advance(tx, m, local.StateFailed, ReasonCancelled)
	}
	if err := h.saveFileState(tx, f, m, store.FileCancelled); err != nil {
		return false, err
	}
	return true, h.dropBlob(tx, f)
}

// ExpireFiles ends a batch of files that the server has dropped by now: incoming
// ones that were not fetched and own ones that were not delivered. It reports
// whether there are more, and when the next file expires (Unix milliseconds, 0:
// none).
func (h *History) ExpireFiles(tx *store.Tx, nowMS int64) (more bool, next int64, err error) {
	list, err := tx.ExpiredFiles(h.account, nowMS, fileBatch)
	if err != nil {
		return false, 0, err
	}
	for i := range list {
		if err := h.expireFile(tx, &list[i]); err != nil {
			return false, 0, err
		}
	}
	next, err = tx.NextFileExpiry(h.account)
	return len(list) == fileBatch, next, err
}

func (h *History) expireFile(tx *store.Tx, f *store.File) error {
	m, err := h.messageOf(tx, f)
	if isNotFound(err) {
		return tx.DeleteFiles(h.account)
	}
	if err != nil {
		return err
	}
	if f.Direction == store.Out && hasArrived(m) {
		return h.freeFile(tx, f)
	}
	if err := h.saveFileState(tx, f, m, store.FileExpired); err != nil {
		return err
	}
	tx.OnCommit(h.hooks.FilesChanged)
	return h.Advance(tx, m, local.StateExpired, ReasonExpired)
}

// declineFiles refuses files of a peer and owes the receipts that say so.
func (h *History) declineFiles(tx *store.Tx, list []store.File) (local.SendResult, error) {
	var out local.SendResult
	m, err := h.messageOf(tx, &list[0])
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
		if err := h.saveFileState(tx, f, m, store.FileDeclined); err != nil {
			return out, err
		}
		if err := h.Owe(tx, m.Peer, f.ID, e2e.ReceiptState_RECEIPT_STATE_DECLINED); err != nil {
			return out, err
		}
	}
	if !declined && list[0].State != store.FileDeclined {
		return out, local.Errorf(local.CodeUsage, "the file is already %s, so it cannot be declined", h.showFile(&list[0], m).State)
	}
	if declined {
		tx.OnCommit(h.hooks.FilesChanged) // ends an automatic fetch
	}
	if declined && m.Kind == int32(e2e.Kind_KIND_TEXT) {
		if err := h.OweIfWhole(tx, m); err != nil {
			return out, err
		}
	}
	peer, err := PeerName(tx, m.Peer)
	return local.SendResult{
		ID: IDText(list[0].ID), Peer: peer, State: local.FileDeclined, Time: TimeMS(list[0].ChangedMS), Changed: &declined,
	}, err
}

// PeerDeclined records that a peer does not want some files. It returns those
// that were messages of their own: they have failed.
func (h *History) PeerDeclined(tx *store.Tx, peer store.PeerID, ids [][]byte) (failed []store.MessageID, err error) {
	for _, b := range ids {
		f, err := tx.File(h.account, store.MessageID(b))
		if isNotFound(err) || err == nil && (f.Direction != store.Out || f.Peer != peer || f.State != store.FileSent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := h.messageOf(tx, f)
		if err != nil {
			return nil, err
		}
		if m.Kind == int32(e2e.Kind_KIND_FILE) {
			if err := h.Advance(tx, m, local.StateFailed, ReasonDeclined); err != nil {
				return nil, err
			}
			failed = append(failed, m.ID)
			continue
		}
		if err := h.saveFileState(tx, f, m, store.FileDeclined); err != nil {
			return nil, err
		}
		if err := h.recipientDone(tx, f); err != nil {
			return nil, err
		}
	}
	return failed, nil
}
