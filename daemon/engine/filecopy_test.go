package engine

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// referenceIn returns the one reference of a sealed content.
func referenceIn(t *testing.T, plain []byte) *e2e.File {
	t.Helper()
	c, err := e2e.Unmarshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	list := history.ReferencesOf(c)
	if s := c.GetSync(); s != nil {
		list = history.ReferencesOf(&e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: s.GetSent()}})
		if f := s.GetSentFile(); f != nil {
			list = []*e2e.File{f}
		}
	}
	if len(list) != 1 {
		t.Fatalf("%d files in %v", len(list), c)
	}
	return list[0]
}

// TestFileFromHistory holds what a device gets that asks for a file's message
// again when the outbox has it no more: the reference as it was sent, with the
// counter of the first time; and what another own device gets.
func TestFileFromHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob", "carol")
		alice, bob, carol := people[0], people[1], people[2]
		defer stopAll(people...)
		for _, attach := range []bool{false, true} {
			q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}, Attach: attach}, "f")
			alice.uploaded(q.Transfers[0], blobLife)
			settleDown(time.Minute)
			files := bob.events(local.TypeFile)
			bob.fetched(files[len(files)-1].ID)
			settleDown(time.Minute)
			id := q.Messages[0]
			if got := alice.messageState(id); got != local.StateDelivered {
				t.Fatalf("attached %t: %s", attach, got)
			}
			err := alice.engine.do(context.Background(), func() error {
				return alice.engine.update(func(tx *store.Tx) error {
					m, err := tx.Message(alice.account, id)
					if err != nil {
						return err
					}
					if _, err := tx.Outgoing(alice.account, id); !isNotFound(err) {
						t.Errorf("the outbox still has it: %v", err)
					}
					o, err := alice.engine.sent(tx, id)
					if err != nil || o == nil {
						t.Fatalf("%v, %v", o, err)
					}
					plain, err := finish(o)
					if err != nil {
						return err
					}
					c, err := e2e.Unmarshal(plain)
					if err != nil || c.GetN() != m.N || m.N == 0 {
						t.Errorf("counter %d of %d, %v", c.GetN(), m.N, err)
					}
					copied, err := alice.engine.syncCopy(tx, o)
					if err != nil {
						return err
					}
					for _, f := range []*e2e.File{referenceIn(t, plain), referenceIn(t, copied)} {
						if f.GetBlob() != "blob" || !bytes.Equal(f.GetKey(), bytes.Repeat([]byte{1}, e2e.FileKeySize)) || f.GetName() != "f" || f.GetSize() != 10 {
							t.Errorf("attached %t: %v", attach, f)
						}
					}
					// It was not meant for carol.
					peer, err := tx.Peer(alice.account, carol.addr.String())
					if err != nil {
						return err
					}
					if ok, err := alice.engine.admitRetry(tx, id, pairKey{peer: peer, device: carol.device}); ok || err != nil {
						t.Errorf("carol may ask: %t, %v", ok, err)
					}
					if list, err := tx.AskedEnvelopes(alice.account, nil, 10); len(list) != 0 || err != nil {
						t.Errorf("carol gets %v, %v", list, err)
					}
					return nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			// The real way: bob asks, and drops what he has already.
			before := len(bob.events(local.TypeFile))
			bob.inject(alice, &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: &e2e.Retry{MessageIds: [][]byte{id[:]}}}}, wire.Class(ratchet.ClassDurable))
			settleDown(time.Minute)
			if n := len(bob.events(local.TypeFile)); n != before {
				t.Errorf("attached %t: %d file events more", attach, n-before)
			}
		}
	})
}

// TestFileSentElsewhere holds what this device knows of a file that another own
// device sent, and that it can withdraw it.
func TestFileSentElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice := people[0]
		defer stopAll(people...)
		id, err := history.NewID()
		if err != nil {
			t.Fatal(err)
		}
		f := &e2e.File{Blob: "b1", Key: make([]byte, e2e.FileKeySize), Sha256: make([]byte, 32), Size: 3, Name: "../x\u202e", Type: "a/b"}
		s := &e2e.Sync{Peer: "bob@x.example", MessageId: id[:], What: &e2e.Sync_SentFile{SentFile: f}}
		c := &e2e.Content{Kind: e2e.Kind_KIND_SYNC, SentMs: time.Now().UnixMilli(), Body: &e2e.Content_Sync{Sync: s}}
		err = alice.engine.do(context.Background(), func() error {
			return alice.engine.update(func(tx *store.Tx) error {
				in := &incoming{addr: alice.addr, peer: alice.engine.selfPeer, class: wire.Class_CLASS_DURABLE}
				if err := alice.engine.sync(tx, in, c); err != nil {
					return err
				}
				return alice.engine.sync(tx, in, c) // once more changes nothing
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if events := alice.events(local.TypeFile); len(events) != 1 || events[0].Direction != local.DirectionOut || events[0].Peer != "bob@x.example" {
			t.Errorf("events %+v", events)
		}
		if out, err := alice.engine.CancelFile(context.Background(), history.IDText(id)); err != nil || out.State != local.FileCancelled {
			t.Errorf("%+v, %v", out, err)
		}
		if n := alice.transfers(store.TransferDelete); n != 1 {
			t.Errorf("%d blobs are to be deleted", n)
		}
	})
}

// TestRetryOfFiles tries again what waits and refuses, with a hint, what failed:
// the source may be another one by now.
func TestRetryOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice := people[0]
		defer stopAll(people...)
		reached := 0
		alice.engine.onUp = func() { reached++ }
		q := alice.queueFiles(local.FileSendParams{Peers: []string{"bob"}}, "f")
		if out, err := alice.engine.RetryOutbox(context.Background(), history.IDText(q.Messages[0])); err != nil || out.State != local.StateQueued || reached != 1 {
			t.Errorf("%+v, %v, %d", out, err, reached)
		}
		if err := alice.engine.UploadFailed(context.Background(), q.Transfers[0], store.ReasonFileRefused, "no"); err != nil {
			t.Fatal(err)
		}
		_, err := alice.engine.RetryOutbox(context.Background(), history.IDText(q.Messages[0]))
		if e := local.As(err); err == nil || e.Code != local.CodeUsage || e.Hint == "" {
			t.Errorf("%v", err)
		}
		out, err := alice.engine.Outbox(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Results {
			if r.State != local.StateFailed {
				t.Errorf("the outbox has %+v", r)
			}
		}
	})
}
