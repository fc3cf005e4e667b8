package files

import (
	"errors"
	"testing"

	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// failingBox fails to decrypt the values of one row, as after disk damage.
type failingBox struct {
	plainBox
	table string
	row   string
}

func (b failingBox) Open(table, column, row string, sealed []byte) ([]byte, error) {
	if table == b.table && (b.row == "" || row == b.row) {
		return nil, errors.New("it does not authenticate")
	}
	return b.plainBox.Open(table, column, row, sealed)
}

// An upload whose row is damaged fails with a reason, and the next upload proceeds. If the
// row of a deletion is damaged, its blob is left to expire.
func TestDamagedTransferStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.blobs.create = func() error { return &wire.Error{Code: wire.CodeUnavailable} }
	w.start()
	bad := w.send(w.source("bad", 1000))
	good := w.send(w.source("good", 1000))
	w.stop()
	var rows []store.Transfer
	w.update(func(tx *store.Tx) (err error) {
		if err := tx.InsertTransfer(&store.Transfer{Account: 1, Kind: store.TransferDelete, Body: []byte("other")}); err != nil {
			return err
		}
		rows, err = tx.Transfers(1, store.TransferUpload, 0, 10)
		return err
	})
	if len(rows) != 2 {
		t.Fatalf("%d uploads", len(rows))
	}
	w.st.SetBox(failingBox{table: "transfers", row: "1"})
	w.blobs.create = nil
	w.start()
	w.wait(good, store.FileSent)
	if f := w.wait(bad, store.FileFailed); f.Reason == "" {
		t.Error("nobody is told why")
	}
	w.st.SetBox(plainBox{})
	w.update(func(tx *store.Tx) error {
		if _, err := tx.Transfer(rows[0].ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the damaged row is still there: %v", err)
		}
		return nil
	})
}
