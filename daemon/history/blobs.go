package history

import (
	"time"

	"secmsg/daemon/store"
)

// fetchedGrace is how long the server keeps a file that every recipient has
// fetched: their other devices may want it, too (PROTOCOL.md 6.1).
const fetchedGrace = time.Hour

// filesDelivered looks at the files of an own message that was delivered.
func (h *History) filesDelivered(tx *store.Tx, id store.MessageID) error {
	list, err := tx.FilesOf(h.account, id)
	if err != nil {
		return err
	}
	for i := range list {
		if err := h.expireFetched(tx, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// expireFetched lets the blob of a file expire soon if every recipient has
// fetched or declined it: until then it counts towards the account's quota.
func (h *History) expireFetched(tx *store.Tx, f *store.File) error {
	list, err := h.fetchedByAll(tx, f)
	if err != nil || len(list) == 0 {
		return err
	}
	for i := range list {
		f := &list[i]
		expires := h.profileTime()
		if !f.Once {
			expires = expires.Add(fetchedGrace)
		}
		if ms := expires.UnixMilli(); f.ExpiresMS == 0 || f.ExpiresMS > ms {
			f.ExpiresMS = ms
			if err := tx.SaveFile(f); err != nil {
				return err
			}
		}
		h.FileExpires(tx, f.ExpiresMS)
	}
	return nil
}

// fetchedByAll returns the rows that keep the blob of a file at the server, if
// the recipient of each has fetched it. Otherwise it returns none.
func (h *History) fetchedByAll(tx *store.Tx, f *store.File) ([]store.File, error) {
	if f.Direction != store.Out || f.Transfer == 0 {
		return nil, nil // the own device that sent it is responsible
	}
	list, err := tx.FilesByTransfer(h.account, f.Transfer)
	if err != nil {
		return nil, err
	}
	var out []store.File
	for _, other := range list {
		switch other.State {
		case store.FileSending:
			return nil, nil
		case store.FileSent:
			m, err := h.messageOf(tx, &other)
			if isNotFound(err) {
				continue // its history was deleted
			}
			if err != nil || !hasArrived(m) {
				return nil, err
			}
			note, err := h.isSelf(tx, m.Peer)
			if err != nil || note { // a note is kept for own devices to come
				return nil, err
			}
			out = append(out, other)
		}
	}
	return out, nil
}

// FreeFiles deletes at once the blobs that every recipient has fetched, and
// returns the sizes of their files.
func (h *History) FreeFiles(tx *store.Tx) (sizes []int64, err error) {
	for after := int64(0); ; {
		page, err := tx.SentFiles(h.account, after, fileBatch)
		if err != nil || len(page) == 0 {
			return sizes, err
		}
		for i := range page {
			after = page[i].Arrival
			list, err := h.fetchedByAll(tx, &page[i])
			if err != nil {
				return nil, err
			}
			if len(list) == 0 || list[0].ID != page[i].ID {
				continue // somebody lacks it, or its blob was freed with the first of its rows
			}
			for j := range list {
				if err := h.freeFile(tx, &list[j]); err != nil {
					return nil, err
				}
			}
			sizes = append(sizes, page[i].Size)
		}
	}
}

// freeFile ends a delivered file whose blob nobody needs.
func (h *History) freeFile(tx *store.Tx, f *store.File) error {
	f.State = store.FileDone
	if err := tx.SaveFile(f); err != nil {
		return err
	}
	return h.dropBlob(tx, f)
}

// recipientDone decides about the blob of a file after one of its recipients no
// longer needs it.
func (h *History) recipientDone(tx *store.Tx, f *store.File) error {
	if err := h.dropBlob(tx, f); err != nil {
		return err
	}
	return h.expireFetched(tx, f)
}

// dropBlob deletes the blob of a file at the server if no other message needs it.
func (h *History) dropBlob(tx *store.Tx, f *store.File) error {
	list, err := tx.FilesByTransfer(h.account, f.Transfer)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID != f.ID && (other.State == store.FileSent || other.State == store.FileSending) {
			return nil
		}
	}
	return h.DeleteBlob(tx, 0, f.Blob)
}

// DeleteBlob makes the file service delete a blob at the server. transfer is the
// row of its finished upload, 0 for none.
func (h *History) DeleteBlob(tx *store.Tx, transfer int64, blob string) error {
	if transfer > 0 {
		if err := tx.DeleteTransfer(transfer); err != nil {
			return err
		}
	}
	if blob == "" {
		return nil
	}
	tx.OnCommit(h.hooks.FilesChanged)
	return tx.InsertTransfer(&store.Transfer{
		Account: h.account, Kind: store.TransferDelete, CreatedMS: h.profileTime().UnixMilli(), Body: []byte(blob),
	})
}
