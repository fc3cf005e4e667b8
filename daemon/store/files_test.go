package store

import (
	"errors"
	"strings"
	"testing"
)

func TestFilesAndTransfers(t *testing.T) {
	s := openTest(t, testPath(t))
	bob, carol := peerOf(t, s, "bob@x"), peerOf(t, s, "carol@x")
	details := FileDetails{Name: "a secret name.pdf", Size: 7, Key: []byte("key"), Blob: "b1", Reason: "r"}
	update(t, s, func(tx *Tx) error {
		up := &Transfer{Account: 1, Kind: TransferUpload, CreatedMS: 3, Body: []byte("plan")}
		if err := tx.InsertTransfer(up); err != nil || up.ID == 0 {
			t.Fatal(up.ID, err)
		}
		for i, p := range []PeerID{bob, carol, bob} {
			f := &File{Account: 1, ID: MessageID{byte(i)}, Message: MessageID{9}, Peer: p, Direction: Out, Place: 2 - i,
				State: FileSending, Transfer: up.ID, FileDetails: details}
			if err := tx.InsertFile(f); err != nil || f.Arrival != int64(i+1) {
				t.Errorf("arrival %d, %v", f.Arrival, err)
			}
		}
		for n := 1; n <= 3; n++ {
			if err := tx.PutPart(&TransferPart{Transfer: up.ID, Number: n, State: PartSpooled, Size: int64(n), Body: []byte{byte(n)}}); err != nil {
				return err
			}
		}
		if err := tx.PartIsStored(up.ID, 1, "tag"); err != nil {
			return err
		}
		parts, err := tx.Parts(up.ID)
		if err != nil || len(parts) != 3 || parts[0].ETag != "tag" || parts[0].State != PartStored || string(parts[2].Body) != "\x03" || parts[1].Body != nil {
			t.Errorf("parts %+v, %v", parts, err)
		}
		list, err := tx.FilesOf(1, MessageID{9})
		if err != nil || len(list) != 3 || list[0].ID != (MessageID{2}) || list[0].Name != details.Name {
			t.Errorf("files of a message %+v, %v", list, err)
		}
		if list, err = tx.Files(1, bob, 1); err != nil || len(list) != 1 || list[0].ID != (MessageID{2}) {
			t.Errorf("last file of bob %+v, %v", list, err)
		}
		if yes, err := tx.Sending(1, up.ID); !yes || err != nil {
			t.Errorf("sending %v, %v", yes, err)
		}
		for _, list := range []func() ([]File, error){
			func() ([]File, error) { return tx.FetchingFiles(1, 5) },
			func() ([]File, error) { return tx.RequestFiles(1, 0, 5) },
		} {
			if l, err := list(); err != nil || len(l) != 0 {
				t.Errorf("%+v, %v", l, err)
			}
		}
		if list, err = tx.FilesByTransfer(1, up.ID); err != nil || len(list) != 3 {
			t.Errorf("files of a transfer %+v, %v", list, err)
		}
		f, err := tx.File(1, MessageID{1})
		if err != nil {
			return err
		}
		f.State, f.ExpiresMS, f.Path = FileSent, 100, "/x"
		if err := tx.SaveFile(f); err != nil {
			return err
		}
		if list, err = tx.ExpiredFiles(1, 100, 10); err != nil || len(list) != 1 || list[0].Path != "/x" {
			t.Errorf("expired %+v, %v", list, err)
		}
		if ms, err := tx.NextFileExpiry(1); ms != 100 || err != nil {
			t.Errorf("next expiry %d, %v", ms, err)
		}
		if err := tx.DeleteTransfer(up.ID); err != nil {
			return err
		}
		if _, err := tx.Transfer(up.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("a deleted transfer: %v", err)
		}
		again := &Transfer{Account: 1, Kind: TransferDelete}
		if err := tx.InsertTransfer(again); err != nil || again.ID <= up.ID {
			t.Errorf("id %d after %d, %v", again.ID, up.ID, err)
		}
		if list, err := tx.Transfers(1, TransferDelete, 0, 10); err != nil || len(list) != 1 {
			t.Errorf("transfers %+v, %v", list, err)
		}
		if err := tx.DeleteFiles(1); err != nil { // they belong to no message
			return err
		}
		if list, err = tx.Files(1, 0, 10); err != nil || len(list) != 0 {
			t.Errorf("files without a message %+v, %v", list, err)
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		f := &File{Account: 1, ID: MessageID{7}, Message: MessageID{7}, Peer: bob, FileDetails: details}
		if err := tx.InsertFile(f); err != nil {
			return err
		}
		var body string
		err := tx.get(`SELECT body FROM files WHERE account = 1`, nil, &body)
		if strings.Contains(body, "secret") {
			t.Error("the name stands in clear")
		}
		return err
	})
}

func TestUploadedQueuesWhatWaited(t *testing.T) {
	s := openTest(t, testPath(t))
	bob := peerOf(t, s, "bob@x")
	update(t, s, func(tx *Tx) error {
		o := &Outgoing{Account: 1, ID: MessageID{1}, Peer: bob, Phase: PhaseUploading, ExpiresMS: 50}
		if err := tx.InsertOutgoing(o); err != nil {
			return err
		}
		if list, err := tx.Queued(1, nil, 5, 5); err != nil || len(list) != 0 {
			t.Errorf("queued before its files are uploaded: %+v, %v", list, err)
		}
		if ok, err := tx.Uploaded(1, o.ID, []byte("reference"), 40); !ok || err != nil {
			t.Errorf("uploaded: %v, %v", ok, err)
		}
		list, err := tx.Queued(1, nil, 5, 5)
		if err != nil || len(list) != 1 || string(list[0].Body) != "reference" || list[0].ExpiresMS != 40 {
			t.Errorf("queued %+v, %v", list, err)
		}
		if ok, err := tx.Uploaded(1, o.ID, nil, 1); ok || err != nil {
			t.Errorf("uploaded twice: %v, %v", ok, err)
		}
		return nil
	})
}
