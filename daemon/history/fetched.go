package history

import (
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
)

// FileFetched records that a file is complete and verified here. Once that holds
// for all files of a message, its receipts are due. transfer is the finished
// download, 0 for none.
func (h *History) FileFetched(tx *store.Tx, id store.MessageID, path string, transfer int64) error {
	if transfer > 0 {
		if err := tx.DeleteTransfer(transfer); err != nil {
			return err
		}
	}
	f, err := tx.File(h.account, id)
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
	m, err := h.messageOf(tx, f)
	if err != nil {
		return err
	}
	f.Reason = ""
	if err := h.saveFileState(tx, f, m, store.FileFetched); err != nil {
		return err
	}
	return h.OweIfWhole(tx, m)
}

// FetchFailed records that a file will not come. state is store.FileFailed or
// store.FileExpired, text is for people, transfer is as in FileFetched.
func (h *History) FetchFailed(tx *store.Tx, id store.MessageID, state, text string, transfer int64) error {
	if transfer > 0 {
		if err := tx.DeleteTransfer(transfer); err != nil {
			return err
		}
	}
	f, err := tx.File(h.account, id)
	if isNotFound(err) {
		return nil
	}
	if err != nil || f.Direction != store.In || f.State == store.FileFetched || f.State == store.FileDeclined || f.State == state && f.Reason == text {
		return err
	}
	m, err := h.messageOf(tx, f)
	if err != nil {
		return err
	}
	f.Reason = text
	return h.saveFileState(tx, f, m, state)
}

// OweIfWhole owes the receipts of an incoming message if all its files are here.
func (h *History) OweIfWhole(tx *store.Tx, m *store.Message) error {
	whole, err := h.whole(tx, m.ID)
	if err != nil || !whole {
		return err
	}
	if err := h.Owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_DELIVERED); err != nil || m.Unread {
		return err
	}
	return h.Owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_READ)
}

// whole reports whether all files of an incoming message are here. Declined
// files of a text do not count.
func (h *History) whole(tx *store.Tx, id store.MessageID) (bool, error) {
	list, err := tx.FilesOf(h.account, id)
	if err != nil {
		return false, err
	}
	for _, f := range list {
		declined := f.State == store.FileDeclined && f.ID != f.Message
		if f.State != store.FileFetched && !declined {
			return false, nil
		}
	}
	return true, nil
}

// AcceptRequested applies the policy for contacts to the files that were offered
// by strangers who have become contacts since.
func (h *History) AcceptRequested(tx *store.Tx) error {
	for after := int64(0); ; {
		list, err := tx.RequestFiles(h.account, after, fileBatch)
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			f := &list[i]
			after = f.Arrival
			state, err := h.offered(tx, true)(f)
			if err != nil {
				return err
			}
			if state == f.State {
				continue
			}
			m, err := h.messageOf(tx, f)
			if err != nil {
				return err
			}
			if err := h.saveFileState(tx, f, m, state); err != nil {
				return err
			}
			tx.OnCommit(h.hooks.FilesChanged)
		}
	}
}
