package journal

import (
	"errors"

	"github.com/google/uuid"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// FileNamed returns the file for an id: the file's own id, that of a message with one file,
// or that of any event about the file. n is the number of matching files; f is nil unless n
// is 1.
func FileNamed(tx *store.Tx, account store.AccountID, text string) (f *store.File, n int, err error) {
	u, err := uuid.Parse(text)
	if err != nil {
		return nil, 0, nil
	}
	if f, n, err = tx.FileNamed(account, store.MessageID(u)); err != nil || n > 0 {
		return f, n, err
	}
	id, err := fileOfEvent(tx, account, text)
	if u, bad := uuid.Parse(id); err == nil && bad == nil {
		return tx.FileNamed(account, store.MessageID(u))
	}
	return nil, 0, err
}

// fileOfEvent returns the id of the file or message that an event is about, or "" if there
// is no such event or it is about something else.
func fileOfEvent(tx *store.Tx, account store.AccountID, id string) (string, error) {
	seq, err := tx.SeqOfEvent(id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	list, err := tx.Events(store.EventFilter{After: seq - 1, Accounts: []store.AccountID{account}, Outgoing: true, Limit: 1})
	if err != nil || len(list) == 0 || list[0].Seq != seq || list[0].Damaged != nil {
		return "", err
	}
	e, err := local.DecodeEvent(list[0].Body)
	switch {
	case err != nil:
		return "", nil // an unreadable event matches nothing
	case e.File != nil:
		return e.File.ID, nil
	case e.FileState != nil:
		return e.FileState.ID, nil
	case e.Receipt != nil:
		return e.Receipt.MessageID, nil
	}
	return "", nil
}
