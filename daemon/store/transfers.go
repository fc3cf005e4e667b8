package store

import (
	"fmt"
	"strconv"
)

// Kinds of transfers. The numbers are stored.
const (
	TransferUpload   = 1
	TransferDownload = 2
	TransferDelete   = 3 // an unwanted blob that is still on the server
)

// Transfer is an unfinished upload or download, or a blob to be deleted.
type Transfer struct {
	ID        int64 // never reused
	Account   AccountID
	Kind      int
	File      MessageID // the file of a download
	CreatedMS int64
	Body      []byte // sealed in the table
	Damaged   error  // in lists: Body could not be opened and is empty
}

// States of a part. The numbers are stored.
const (
	PartSpooled = 1
	PartStored  = 2
)

// TransferPart is a part of an upload.
type TransferPart struct {
	Transfer int64
	Number   int // from 1
	State    int
	Size     int64 // sealed, in bytes
	ETag     string
	Body     []byte // sealed in the table
}

// InsertTransfer adds a transfer and sets its ID.
func (tx *Tx) InsertTransfer(t *Transfer) error {
	err := tx.get(`INSERT INTO transfers (account, kind, file, created_ms, body) VALUES (?, ?, ?, ?, x'') RETURNING id`,
		[]any{t.Account, t.Kind, t.File[:], t.CreatedMS}, &t.ID)
	if err != nil {
		return err
	}
	return tx.SaveTransfer(t)
}

// SaveTransfer writes kind and body of a transfer.
func (tx *Tx) SaveTransfer(t *Transfer) error {
	sealed, err := tx.seal("transfers", "body", transferRow(t.ID), t.Body)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE transfers SET kind = ?, body = ? WHERE id = ?`, t.Kind, sealed, t.ID)
}

// Transfer returns a transfer, or ErrNotFound. If the body cannot be opened, it returns the
// rest of the row together with the error.
func (tx *Tx) Transfer(id int64) (*Transfer, error) {
	list, err := tx.transfers(`SELECT id, account, kind, file, created_ms, body FROM transfers WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("transfer %d: %w", id, ErrNotFound)
	}
	return &list[0], list[0].Damaged
}

// Transfers returns up to limit transfers of a kind with an id greater than after, in order.
func (tx *Tx) Transfers(account AccountID, kind int, after int64, limit int) ([]Transfer, error) {
	return tx.transfers(`SELECT id, account, kind, file, created_ms, body FROM transfers
		WHERE account = ? AND kind = ? AND id > ? ORDER BY id LIMIT ?`, account, kind, after, limit)
}

// TransfersOf returns the downloads of a file, oldest first.
func (tx *Tx) TransfersOf(account AccountID, file MessageID) ([]Transfer, error) {
	return tx.transfers(`SELECT id, account, kind, file, created_ms, body FROM transfers
		WHERE account = ? AND kind = ? AND file = ? ORDER BY id`, account, TransferDownload, file[:])
}

// TransferIDs returns the ids of the transfers of all accounts. It works while locked.
func (tx *Tx) TransferIDs() (map[int64]bool, error) {
	out := make(map[int64]bool)
	err := tx.each(`SELECT id FROM transfers`, nil, func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		out[id] = true
		return err
	})
	return out, err
}

// DeleteTransfer removes a transfer and its parts.
func (tx *Tx) DeleteTransfer(id int64) error {
	if err := tx.DeleteParts(id); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM transfers WHERE id = ?`, id)
}

// PutPart stores a sealed part.
func (tx *Tx) PutPart(p *TransferPart) error {
	sealed, err := tx.seal("transfer_parts", "body", partRow(p.Transfer, p.Number), p.Body)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO transfer_parts (transfer, number, state, size, etag, body) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (transfer, number) DO UPDATE SET state = excluded.state, size = excluded.size, etag = excluded.etag, body = excluded.body`,
		p.Transfer, p.Number, p.State, p.Size, p.ETag, sealed)
}

// PartIsStored records that the server has a part, with its ETag.
func (tx *Tx) PartIsStored(transfer int64, number int, etag string) error {
	return tx.exec(`UPDATE transfer_parts SET state = ?, etag = ? WHERE transfer = ? AND number = ?`, PartStored, etag, transfer, number)
}

// Parts returns the parts of a transfer in order. Body is set only for the last one.
func (tx *Tx) Parts(transfer int64) ([]TransferPart, error) {
	var out []TransferPart
	err := tx.each(`SELECT transfer, number, state, size, etag, body FROM transfer_parts WHERE transfer = ? ORDER BY number`,
		[]any{transfer}, func(scan func(...any) error) error {
			var p TransferPart
			if err := scan(&p.Transfer, &p.Number, &p.State, &p.Size, &p.ETag, &p.Body); err != nil {
				return err
			}
			if len(out) > 0 {
				out[len(out)-1].Body = nil
			}
			out = append(out, p)
			return nil
		})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	last := &out[len(out)-1]
	last.Body, err = tx.open("transfer_parts", "body", partRow(transfer, last.Number), last.Body)
	return out, err
}

// DeleteParts removes the parts of a transfer.
func (tx *Tx) DeleteParts(transfer int64) error {
	return tx.exec(`DELETE FROM transfer_parts WHERE transfer = ?`, transfer)
}

func (tx *Tx) transfers(query string, args ...any) ([]Transfer, error) {
	var out []Transfer
	err := tx.each(query, args, func(scan func(...any) error) error {
		var t Transfer
		var file []byte
		if err := scan(&t.ID, &t.Account, &t.Kind, &file, &t.CreatedMS, &t.Body); err != nil {
			return err
		}
		copy(t.File[:], file)
		out = append(out, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		t := &out[i]
		t.Body, t.Damaged = tx.open("transfers", "body", transferRow(t.ID), t.Body)
		if err := exceptValueError(t.Damaged); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func transferRow(id int64) string { return strconv.FormatInt(id, 10) }

func partRow(transfer int64, number int) string {
	return transferRow(transfer) + "/" + strconv.Itoa(number)
}

// QueuedFiles is the result of queueing files. If it was found by an idempotency key, it
// has no Transfers.
type QueuedFiles struct {
	Messages  []MessageID // in the order of sources and, for each, of recipients
	Transfers []int64     // for each source
}

// UploadedFile is a complete blob on the server.
type UploadedFile struct {
	Blob      string
	Key       []byte
	Size      int64 // of the plaintext in bytes
	SHA256    []byte
	ExpiresMS int64 // profile time
}

// Reasons why an upload failed. They are stored with the message.
const (
	ReasonFileQuota    = "file_quota"
	ReasonFileTooLarge = "file_too_large"
	ReasonFileSource   = "file_source" // the source is gone, cannot be read, or keeps changing
	ReasonFileStream   = "file_stream" // the stream broke off
	ReasonFileRefused  = "file_refused"
	ReasonFileSpool    = "file_spool" // the daemon cannot write to its own directory
)
