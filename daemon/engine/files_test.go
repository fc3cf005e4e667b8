package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// queueFile queues files of the given names as the files service does.
func (p *person) queueFiles(params local.FileSendParams, names ...string) store.QueuedFiles {
	p.t.Helper()
	var files []store.FileDetails
	var plans [][]byte
	for _, n := range names {
		files = append(files, store.FileDetails{Name: n, Size: 10, Type: "text/plain"})
		plans = append(plans, []byte("plan"))
	}
	q, err := p.engine.QueueFiles(context.Background(), params, files, plans, []byte("print"))
	if err != nil {
		p.t.Fatal(err)
	}
	return q
}

func (p *person) uploaded(transfer int64, life time.Duration) {
	p.t.Helper()
	p.uploadedSize(transfer, 10, life)
}

func (p *person) uploadedSize(transfer, size int64, life time.Duration) {
	p.t.Helper()
	err := p.engine.FileUploaded(context.Background(), transfer, store.UploadedFile{
		Blob: "blob", Key: bytes.Repeat([]byte{1}, e2e.FileKeySize), Size: size, SHA256: make([]byte, sha256.Size),
		ExpiresMS: p.st.ProfileTime().Add(life).UnixMilli(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// fileStates returns the states of all files, oldest first.
func (p *person) fileStates() []string {
	p.t.Helper()
	list, err := p.engine.ListFiles(context.Background(), local.FileListParams{})
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Events {
		out = append(out, e.File.Name+" "+e.File.State)
	}
	return out
}

func (p *person) fetched(id string) {
	p.t.Helper()
	m, err := history.ParseID(id)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.engine.FileFetched(context.Background(), m, "/got", 0); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) messageState(id store.MessageID) string {
	p.t.Helper()
	out, err := p.engine.AwaitFiles(context.Background(), []store.MessageID{id}, local.FileSendParams{Wait: waitQueued})
	if err != nil {
		p.t.Fatal(err)
	}
	return out.Results[0].State
}

func (p *person) transfers(kind int) int {
	p.t.Helper()
	n := 0
	err := p.st.View(context.Background(), func(tx *store.Tx) error {
		list, err := tx.Transfers(p.account, kind, 0, 100)
		n = len(list)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

const blobLife = 10 * day

func TestFileIsDeliveredWhenItIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, IdempotencyKey: "k"}, "../a.txt")
		again := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, IdempotencyKey: "k"}, "../a.txt")
		if len(again.Transfers) != 0 || len(again.Messages) != 1 || again.Messages[0] != q.Messages[0] {
			t.Errorf("the same key again: %+v", again)
		}
		settleDown(time.Minute)
		equal(t, "sending", alice.fileStates(), []string{"../a.txt sending"})
		out, err := alice.engine.Outbox(context.Background())
		if err != nil || len(out.Results) != 1 || out.Results[0].File == nil {
			t.Errorf("outbox %+v, %v", out, err)
		}
		if got := bob.fileStates(); len(got) != 0 {
			t.Errorf("bob has %v before the upload", got)
		}
		alice.uploaded(q.Transfers[0], blobLife)
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateAccepted {
			t.Errorf("before bob has it: %s", got)
		}
		equal(t, "offered", bob.fileStates(), []string{"a.txt offered"})
		events := bob.events(local.TypeFile)
		if len(events) != 1 || events[0].ID != history.IDText(q.Messages[0]) || events[0].File.ID != events[0].ID || events[0].Peer != "alice@x.example" {
			t.Fatalf("events %+v", events)
		}
		if n := len(bob.events(local.TypeMessage)); n != 0 {
			t.Errorf("%d message events", n)
		}
		// Read before it is fetched: nothing is said to the sender.
		if in, err := bob.engine.Inbox(context.Background(), local.InboxParams{}); err != nil || len(in.Events) != 1 || in.Events[0].File == nil {
			t.Errorf("inbox %+v, %v", in, err)
		}
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateAccepted {
			t.Errorf("read and not fetched: %s", got)
		}
		bob.fetched(events[0].ID)
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateRead {
			t.Errorf("fetched and read: %s", got)
		}
		// What changes later is of another type: a handler of files that came does not get it.
		changes := bob.events(local.TypeFileState)
		if len(changes) != 1 || changes[0].FileState.State != local.FileFetched || changes[0].ID == events[0].ID || changes[0].File != nil || len(bob.events(local.TypeFile)) != 1 {
			t.Fatalf("events %+v", changes)
		}
		// Whatever id somebody has of the file, it is that file.
		for _, id := range []string{events[0].ID, changes[0].ID} {
			shown, _, err := bob.engine.ShowFile(context.Background(), id)
			if err != nil || shown.Event.File.ID != events[0].File.ID {
				t.Errorf("%s: %+v, %v", id, shown, err)
			}
		}
		if _, err := bob.engine.CancelFile(context.Background(), events[0].ID); local.As(err).Code != local.CodeUsage {
			t.Errorf("bob cancels: %v", err)
		}
		// What was delivered does not expire.
		settleDown(blobLife)
		equal(t, "in the end", alice.fileStates(), []string{"../a.txt read"})
		equal(t, "in the end", bob.fileStates(), []string{"a.txt fetched"})
	})
}

func TestFilesOfAText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, Attach: true, Text: "see"}, "a", "b")
		if len(q.Messages) != 1 || len(q.Transfers) != 2 {
			t.Fatalf("%+v", q)
		}
		alice.uploaded(q.Transfers[1], blobLife)
		settleDown(time.Minute)
		if n := len(bob.events(local.TypeMessage)); n != 0 {
			t.Error("sent with one file of two")
		}
		alice.uploaded(q.Transfers[0], blobLife)
		settleDown(time.Minute)
		messages, files := bob.events(local.TypeMessage), bob.events(local.TypeFile)
		if len(messages) != 1 || messages[0].Message.Text != "see" || len(messages[0].Message.Files) != 2 || len(files) != 2 {
			t.Fatalf("%+v, %+v", messages, files)
		}
		for i, f := range files {
			if f.File.MessageID != messages[0].ID || f.ID != messages[0].Message.Files[i].ID {
				t.Errorf("file %+v", f)
			}
		}
		bob.fetched(files[0].ID)
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateAccepted {
			t.Errorf("with one file of two: %s", got)
		}
		bob.fetched(files[1].ID)
		settleDown(time.Minute)
		if got := alice.messageState(q.Messages[0]); got != local.StateDelivered {
			t.Errorf("with both: %s", got)
		}
	})
}

func TestCancelledFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		cancel := func(q store.QueuedFiles) {
			t.Helper()
			if out, err := alice.engine.CancelFile(context.Background(), history.IDText(q.Messages[0])); err != nil || out.State != local.FileCancelled {
				t.Errorf("%+v, %v", out, err)
			}
		}
		early := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, "early")
		cancel(early)
		alice.uploaded(early.Transfers[0], blobLife) // it was nearly done
		if n := alice.transfers(store.TransferDelete); n != 1 {
			t.Errorf("%d blobs are to be deleted", n)
		}
		late := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, "late")
		alice.uploaded(late.Transfers[0], blobLife)
		settleDown(time.Minute)
		cancel(late)
		if n := alice.transfers(store.TransferDelete); n != 2 {
			t.Errorf("%d blobs are to be deleted", n)
		}
		settleDown(time.Minute)
		equal(t, "alice", alice.fileStates(), []string{"early cancelled", "late cancelled"})
		equal(t, "bob", bob.fileStates(), []string{"late offered"})
		failed := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, "failed")
		if err := alice.engine.UploadFailed(context.Background(), failed.Transfers[0], store.ReasonFileQuota, "no room"); err != nil {
			t.Fatal(err)
		}
		out, err := alice.engine.AwaitFiles(context.Background(), failed.Messages, local.FileSendParams{})
		if err != nil || out.Results[0].Error == nil || out.Results[0].Error.Code != local.CodeQuota {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

func TestFileExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, "f")
		alice.uploaded(q.Transfers[0], time.Hour)
		waiting := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, Expires: 1800}, "never uploaded")
		settleDown(2 * time.Hour)
		equal(t, "alice", alice.fileStates(), []string{"f expired", "never uploaded expired"})
		equal(t, "bob", bob.fileStates(), []string{"f expired"})
		for _, id := range []store.MessageID{q.Messages[0], waiting.Messages[0]} {
			if got := alice.messageState(id); got != local.StateExpired {
				t.Errorf("message %s", got)
			}
		}
		last := alice.events(local.TypeFileState)
		if e := last[len(last)-1]; e.FileState.State != local.FileExpired || e.Direction != local.DirectionOut {
			t.Errorf("event %+v", e)
		}
	})
}

func TestAutoAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		send := func(from *person, name string) {
			t.Helper()
			q := from.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, name)
			from.uploaded(q.Transfers[0], blobLife)
			settleDown(time.Minute)
		}
		policy := func(value string) {
			t.Helper()
			err := bob.st.Update(context.Background(), func(tx *store.Tx) error {
				_, err := bob.trust.Set(tx, bob.account, alice.addr, "auto-accept", value)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		send(alice, "none")
		policy("0")
		sendSized := func(name string, size int64) {
			t.Helper()
			q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, name)
			alice.uploadedSize(q.Transfers[0], size, blobLife)
			settleDown(time.Minute)
		}
		sendSized("empty", 0) // is not taken for one that is small enough
		policy("9")
		send(alice, "too large")
		policy("10")
		send(alice, "small")
		// A stranger's waits, whatever the default is, until the contact is added.
		bob.stop()
		bob.cfg.AutoAccept = 100
		bob.open()
		bob.run()
		bob.link.connect()
		carol := join(t, r, "carol")
		defer carol.stop()
		carol.link.connect()
		settleDown(time.Minute)
		send(carol, "stranger")
		equal(t, "bob", bob.fileStates(), []string{"none offered", "empty offered", "too large offered", "small fetching", "stranger offered"})
		bob.add("carol")
		settleDown(time.Minute)
		equal(t, "bob", bob.fileStates()[4:], []string{"stranger fetching"})
	})
}
