package store

import (
	"encoding/json"
	"errors"
	"fmt"
)

// PhaseUploading is the phase of an outbox row that waits for the upload of its files. The
// number is stored, in the same column as the other phases.
const PhaseUploading = 5

// States of a file, as stored. A sent file's delivery state is that of its message.
const (
	FileOffered   = "offered"   // in: may be fetched
	FileFetching  = "fetching"  // in: is being fetched automatically
	FileFetched   = "fetched"   // in: complete and verified
	FileSending   = "sending"   // out: being sealed and uploaded
	FileSent      = "sent"      // out: the server has it
	FileCancelled = "cancelled" // out: withdrawn
	FileDeclined  = "declined"  // in: the user has declined it; out: the peer has
	FileDone      = "done"      // out: delivered, and deleted from the server
	FileFailed    = "failed"
	FileExpired   = "expired"
)

// File is one file of a message. Times are Unix milliseconds; ExpiresMS is profile time.
type File struct {
	Account   AccountID
	ID        MessageID
	Message   MessageID // equal to ID for a file that is its own message
	Peer      PeerID
	Direction int
	Place     int // position among the files of its message, from 0
	State     string
	Transfer  int64 // out: the upload's id; 0: not uploaded here
	Arrival   int64 // order of arrival; set by InsertFile
	ChangedMS int64
	ExpiresMS int64 // 0: unknown
	FileDetails
}

// FileDetails is the sealed part of a File.
type FileDetails struct {
	Name      string `json:"name"`
	Type      string `json:"type,omitempty"`
	Size      int64  `json:"size"` // of the plaintext in bytes; -1: unknown
	Blob      string `json:"blob,omitempty"`
	Key       []byte `json:"key,omitempty"`
	SHA256    []byte `json:"sha256,omitempty"` // of the sealed blob
	Thumbnail []byte `json:"thumbnail,omitempty"`
	Width     uint32 `json:"width,omitempty"` // of the thumbnail, in pixels
	Height    uint32 `json:"height,omitempty"`
	Path      string `json:"path,omitempty"` // where the fetched file was saved
	Reason    string `json:"reason,omitempty"`
	Downloads int    `json:"downloads,omitempty"`
	// Once: out: delete the blob as soon as every recipient has fetched it.
	Once bool `json:"once,omitempty"`
}

const fileColumns = `account, id, message, peer, direction, place, state, transfer, arrival, changed_ms, expires_ms, body`

// InsertFile adds a file and sets its Arrival.
func (tx *Tx) InsertFile(f *File) error {
	sealed, err := tx.sealFile(f)
	if err != nil {
		return err
	}
	return tx.get(`INSERT INTO files (`+fileColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
		(SELECT coalesce(max(arrival), 0) + 1 FROM files WHERE account = ?1), ?9, ?10, ?11) RETURNING arrival`,
		[]any{f.Account, f.ID[:], f.Message[:], f.Peer, f.Direction, f.Place, f.State, f.Transfer, f.ChangedMS, f.ExpiresMS, sealed}, &f.Arrival)
}

// SaveFile writes the mutable parts of a file: state, times, transfer and details.
func (tx *Tx) SaveFile(f *File) error {
	sealed, err := tx.sealFile(f)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE files SET state = ?, transfer = ?, changed_ms = ?, expires_ms = ?, body = ? WHERE account = ? AND id = ?`,
		f.State, f.Transfer, f.ChangedMS, f.ExpiresMS, sealed, f.Account, f.ID[:])
}

func (tx *Tx) sealFile(f *File) ([]byte, error) {
	body, err := json.Marshal(f.FileDetails)
	if err != nil {
		return nil, fmt.Errorf("encode file: %w", err)
	}
	return tx.seal("files", "body", bodyRow(f.Account, f.ID), body)
}

// File returns a file of an account, or ErrNotFound.
func (tx *Tx) File(account AccountID, id MessageID) (*File, error) {
	list, err := tx.files(`SELECT `+fileColumns+` FROM files WHERE account = ? AND id = ?`, account, id[:])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("file %x: %w", id[:], ErrNotFound)
	}
	return &list[0], nil
}

// FileNamed returns the file for an id: the file's own id, or that of a message with one
// file. n is the number of matching files; f is nil unless n is 1.
func (tx *Tx) FileNamed(account AccountID, id MessageID) (f *File, n int, err error) {
	if f, err = tx.File(account, id); !errors.Is(err, ErrNotFound) {
		return f, 1, err
	}
	list, err := tx.FilesOf(account, id)
	if err == nil && len(list) == 1 {
		f = &list[0]
	}
	return f, len(list), err
}

// FilesOf returns the files of a message in order.
func (tx *Tx) FilesOf(account AccountID, message MessageID) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM files WHERE account = ? AND message = ? ORDER BY place`, account, message[:])
}

// FilesByTransfer returns the files of an upload.
func (tx *Tx) FilesByTransfer(account AccountID, transfer int64) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM files INDEXED BY files_by_transfer
		WHERE account = ? AND transfer = ? AND transfer > 0 ORDER BY arrival`, account, transfer)
}

// Sending reports whether a file still waits for an upload.
func (tx *Tx) Sending(account AccountID, transfer int64) (bool, error) {
	var yes bool
	err := tx.get(`SELECT EXISTS (SELECT 1 FROM files INDEXED BY files_by_transfer
		WHERE account = ? AND transfer = ? AND transfer > 0 AND state = 'sending')`, []any{account, transfer}, &yes)
	return yes, err
}

// Files returns the last limit files, oldest first, of a peer or (0) of all peers.
func (tx *Tx) Files(account AccountID, peer PeerID, limit int) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM (SELECT * FROM files WHERE account = ?1 AND (?2 = 0 OR peer = ?2)
		ORDER BY arrival DESC LIMIT ?3) ORDER BY arrival`, account, peer, limit)
}

// FetchingFiles returns up to limit files to be fetched automatically, oldest first.
func (tx *Tx) FetchingFiles(account AccountID, limit int) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM files INDEXED BY files_fetching
		WHERE account = ? AND state = 'fetching' ORDER BY arrival LIMIT ?`, account, limit)
}

// RequestFiles returns up to limit offered files, with Arrival greater than after and in
// order, that came from a stranger who is a contact now.
func (tx *Tx) RequestFiles(account AccountID, after int64, limit int) ([]File, error) {
	return tx.files(`SELECT f.account, f.id, f.message, f.peer, f.direction, f.place, f.state, f.transfer, f.arrival, f.changed_ms, f.expires_ms, f.body
		FROM files f INDEXED BY files_offered CROSS JOIN messages m ON m.account = f.account AND m.id = f.message
		CROSS JOIN contacts c ON c.account = f.account AND c.peer = f.peer
		WHERE f.account = ? AND m.request = 1 AND f.state = 'offered' AND c.relation = ? AND f.arrival > ? ORDER BY f.arrival LIMIT ?`,
		account, RelationContact, after, limit)
}

// ExpiredFiles returns up to limit files that should have expired on the server by ms
// without having been fetched.
func (tx *Tx) ExpiredFiles(account AccountID, ms int64, limit int) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM files INDEXED BY files_expiry WHERE account = ? AND expires_ms > 0 AND expires_ms <= ?
		AND state IN ('offered', 'fetching', 'sent') ORDER BY expires_ms LIMIT ?`, account, ms, limit)
}

// SentFiles returns up to limit own files on the server, with Arrival greater than after,
// in order.
func (tx *Tx) SentFiles(account AccountID, after int64, limit int) ([]File, error) {
	return tx.files(`SELECT `+fileColumns+` FROM files WHERE account = ? AND state = 'sent' AND direction = 2 AND arrival > ?
		ORDER BY arrival LIMIT ?`, account, after, limit)
}

// NextFileExpiry returns the time of the next expiry (see ExpiredFiles), or 0.
func (tx *Tx) NextFileExpiry(account AccountID) (int64, error) {
	var ms int64
	err := tx.get(`SELECT coalesce(min(expires_ms), 0) FROM files INDEXED BY files_expiry WHERE account = ? AND expires_ms > 0
		AND state IN ('offered', 'fetching', 'sent')`, []any{account}, &ms)
	return ms, err
}

// DeleteFiles deletes the files of messages that are no longer in the history.
func (tx *Tx) DeleteFiles(account AccountID) error {
	return tx.exec(`DELETE FROM files WHERE account = ?1 AND NOT EXISTS
		(SELECT 1 FROM messages m WHERE m.account = ?1 AND m.id = files.message)`, account)
}

// SetMessageBody replaces the content of a message after the upload of its files.
func (tx *Tx) SetMessageBody(account AccountID, id MessageID, body []byte) error {
	sealed, err := tx.seal("messages", "body", bodyRow(account, id), body)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE messages SET body = ? WHERE account = ? AND id = ?`, sealed, account, id[:])
}

// Uploaded sets the content of an outbox row that waited for its files, and queues it. It
// reports whether there was such a row.
func (tx *Tx) Uploaded(account AccountID, id MessageID, body []byte, expiresMS int64) (bool, error) {
	sealed, err := tx.seal("outbox", "body", bodyRow(account, id), body)
	if err != nil {
		return false, err
	}
	n, err := tx.execN(`UPDATE outbox SET phase = ?, body = ?, expires_ms = min(expires_ms, ?) WHERE account = ? AND id = ? AND phase = ?`,
		PhaseQueued, sealed, expiresMS, account, id[:], PhaseUploading)
	return n > 0, err
}

func (tx *Tx) files(query string, args ...any) ([]File, error) {
	var out []File
	var bodies [][]byte
	err := tx.each(query, args, func(scan func(...any) error) error {
		var f File
		var id, message, body []byte
		if err := scan(&f.Account, &id, &message, &f.Peer, &f.Direction, &f.Place, &f.State, &f.Transfer, &f.Arrival,
			&f.ChangedMS, &f.ExpiresMS, &body); err != nil {
			return err
		}
		copy(f.ID[:], id)
		copy(f.Message[:], message)
		out, bodies = append(out, f), append(bodies, body)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		f := &out[i]
		plain, err := tx.open("files", "body", bodyRow(f.Account, f.ID), bodies[i])
		if err == nil {
			err = json.Unmarshal(plain, &f.FileDetails)
		} else if err := exceptValueError(err); err != nil {
			return nil, err
		}
		if err != nil {
			// The other files of the list are usable. This one must not be saved again.
			f.FileDetails = FileDetails{Name: "damaged", Size: -1, Reason: "the stored file is damaged on disk"}
		}
	}
	return out, nil
}
