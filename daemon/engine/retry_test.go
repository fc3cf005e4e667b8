package engine

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// ask has p send a retry request for ids, as it is.
func (p *person) ask(to *person, ids ...store.MessageID) {
	p.t.Helper()
	r := &e2e.Retry{}
	for _, id := range ids {
		r.MessageIds = append(r.MessageIds, id[:])
	}
	p.inject(to, &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: r}}, wire.Class_CLASS_DURABLE)
}

// sealedFor counts how often a message left for a device.
func (r *relay) sealedFor(p *person, id store.MessageID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.seen {
		if string(o.GetMessageId()) == string(id[:]) && string(o.GetDevice()) == string(p.device[:]) {
			n++
		}
	}
	return n
}

func idOf(t *testing.T, s string) store.MessageID {
	t.Helper()
	id, err := history.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A retry gives out nothing that was delivered to the asking device, nothing that
// was never sealed for it, and nothing older than mail is kept. What the device
// did not acknowledge it gets, with the counter of the first time.
func TestRetryGivesOutNothingDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice, bob, carol := p[0], p[1], p[2]
		defer stopAll(p...)
		read := idOf(t, alice.send("bob", "read long ago", waitFor(waitDelivered)).ID)
		hers := idOf(t, alice.send("carol", "for carol", waitFor(waitDelivered)).ID)
		settleDown(time.Second)
		if _, err := bob.engine.Inbox(t.Context(), local.InboxParams{}); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		bob.link.disconnect()
		open := idOf(t, alice.send("bob", "not delivered", waitFor(waitServer)).ID)
		r.mu.Lock()
		delete(r.boxes, bob.device) // the server says that it has it, and drops it
		r.mu.Unlock()
		bob.link.connect()
		settleDown(time.Second)

		was := map[store.MessageID]int{read: r.sealedFor(bob, read), hers: r.sealedFor(bob, hers), open: r.sealedFor(bob, open)}
		bob.ask(alice, read, hers, open)
		settleDown(time.Minute)
		for id, want := range map[store.MessageID]int{read: 0, hers: 0, open: 1} {
			if n := r.sealedFor(bob, id) - was[id]; n != want {
				t.Errorf("%s was sealed %d times, want %d", history.IDText(id), n, want)
			}
		}
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"read long ago", "not delivered"})
		counts, err := alice.engine.Counts(t.Context())
		if err != nil || counts[countRetry] != 1 {
			t.Errorf("counts %v, %v", counts, err)
		}
		// It is delivered now, and not given out again.
		before := r.sealedFor(bob, open)
		bob.ask(alice, open)
		settleDown(time.Minute)
		if n := r.sealedFor(bob, open); n != before {
			t.Errorf("sealed %d times after it was delivered", n-before)
		}
		// What was sent longer ago than mail is kept is gone, though carol never
		// acknowledged it.
		carol.link.disconnect()
		old := idOf(t, alice.send("carol", "old", waitFor(waitServer)).ID)
		r.mu.Lock()
		delete(r.boxes, carol.device)
		r.mu.Unlock()
		settleDown(wire.MailboxRetention + day)
		carol.link.connect()
		settleDown(time.Second)
		before = r.sealedFor(carol, old)
		carol.ask(alice, old)
		settleDown(time.Minute)
		if n := r.sealedFor(carol, old); n != before {
			t.Errorf("sealed %d times after a month", n-before)
		}
	})
}

// A device that has not acknowledged a message gets it although another one of
// its account has, and its acknowledgement ends that.
func TestRetryOfAFurtherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		settleDown(time.Second)
		id := idOf(t, alice.send("bob", "for both", waitFor(waitDelivered)).ID)
		phone := [16]byte{7}
		may := func(device [16]byte) (ok bool) {
			t.Helper()
			err := alice.engine.do(t.Context(), func() error {
				return alice.engine.update(func(tx *store.Tx) error {
					peer, err := tx.FindPeer(alice.account, bob.addr.String())
					if err != nil {
						return err
					}
					ok, err = alice.engine.admitRetry(tx, id, pairKey{peer: peer, device: device})
					if err == nil && ok {
						err = tx.Unask(alice.account, id, device)
					}
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		// The phone got an envelope before the laptop's receipt came.
		err := alice.st.Update(t.Context(), func(tx *store.Tx) error {
			peer, err := tx.FindPeer(alice.account, bob.addr.String())
			if err != nil {
				return err
			}
			return tx.PutEnvelope(&store.Envelope{Account: alice.account, ID: id, Device: phone, Peer: peer, Status: store.EnvelopeAccepted,
				Manifest: 1, ExpiresMS: alice.st.ProfileTime().Add(day).UnixMilli()})
		})
		if err != nil {
			t.Fatal(err)
		}
		if !may(phone) || may(bob.device) {
			t.Errorf("phone %t, laptop %t", may(phone), may(bob.device))
		}
		receipt := func(device [16]byte) {
			err := alice.engine.do(t.Context(), func() error {
				return alice.engine.update(func(tx *store.Tx) error {
					peer, err := tx.FindPeer(alice.account, bob.addr.String())
					if err != nil {
						return err
					}
					return alice.engine.receipt(tx, &incoming{peer: peer, addr: bob.addr, device: device},
						&e2e.Receipt{State: e2e.ReceiptState_RECEIPT_STATE_READ, MessageIds: [][]byte{id[:]}})
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		receipt(bob.device)
		if !may(phone) {
			t.Error("the laptop's receipt speaks for the phone")
		}
		receipt(phone)
		if may(phone) {
			t.Error("the phone has acknowledged it")
		}
	})
}

// Own devices acknowledge the copies that they get, so that these are not given
// out again either; other states do not follow from it.
func TestOwnDevicesAcknowledgeCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		bob.link.disconnect()
		id := idOf(t, alice.send("bob", "hi", waitFor(waitServer)).ID)
		phone := [16]byte{7}
		err := alice.engine.do(t.Context(), func() error {
			return alice.engine.update(func(tx *store.Tx) error {
				if err := tx.PutEnvelope(&store.Envelope{Account: alice.account, ID: id, Device: phone, Peer: alice.engine.selfPeer, Own: true,
					Status: store.EnvelopeAccepted, Manifest: 1, ExpiresMS: alice.st.ProfileTime().Add(day).UnixMilli()}); err != nil {
					return err
				}
				from := pairKey{peer: alice.engine.selfPeer, device: phone}
				if ok, err := alice.engine.admitRetry(tx, id, from); !ok || err != nil {
					t.Errorf("before: %t, %v", ok, err)
				}
				if err := tx.Unask(alice.account, id, phone); err != nil {
					return err
				}
				err := alice.engine.receipt(tx, &incoming{peer: alice.engine.selfPeer, addr: alice.addr, device: phone},
					&e2e.Receipt{State: e2e.ReceiptState_RECEIPT_STATE_DELIVERED, MessageIds: [][]byte{id[:]}})
				if err != nil {
					return err
				}
				if ok, err := alice.engine.admitRetry(tx, id, from); ok || err != nil {
					t.Errorf("after: %t, %v", ok, err)
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.wantState("bob", history.IDText(id), local.StateAccepted)
		// A copy that comes owes such a receipt.
		var owed int
		err = bob.engine.do(t.Context(), func() error {
			return bob.engine.update(func(tx *store.Tx) error {
				in := &incoming{id: store.MessageID{1}, peer: bob.engine.selfPeer, addr: bob.addr, device: phone, class: wire.Class_CLASS_DURABLE}
				c, err := e2e.Marshal(&e2e.Content{Kind: e2e.Kind_KIND_SYNC, Body: &e2e.Content_Sync{Sync: &e2e.Sync{
					Peer: alice.addr.String(), MessageId: id[:], What: &e2e.Sync_Sent{Sent: &e2e.Text{Text: "copy"}}}}})
				if err != nil {
					return err
				}
				in.opened.Plaintext = c
				if err := bob.engine.dispatch(tx, in); err != nil {
					return err
				}
				list, err := tx.Owed(bob.account, bob.engine.selfPeer, int32(e2e.ReceiptState_RECEIPT_STATE_DELIVERED), 10)
				owed = len(list)
				return err
			})
		})
		if err != nil || owed != 1 {
			t.Errorf("%d receipts are owed, %v", owed, err)
		}
	})
}

// However many requests of a contact come in one batch, each message is sealed
// again at most three times an hour for a device, there is one ciphertext of it
// at a time, and neither a transaction nor the memory grows with the requests.
func TestRetriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, requests = 100, 60
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.send("alice", "yes", waitFor(waitDelivered))
		settleDown(time.Second)
		bob.link.disconnect()
		big := make([]byte, 60<<10)
		for i := range big {
			big[i] = 'x'
		}
		var ids []store.MessageID
		for i := range messages {
			ids = append(ids, idOf(t, alice.send("bob", fmt.Sprint(i)+string(big)).ID))
		}
		settleDown(time.Minute)
		r.mu.Lock()
		delete(r.boxes, bob.device)
		r.seen = nil
		r.mu.Unlock()
		alice.link.disconnect()
		bob.link.connect()
		settleDown(time.Second)
		for range requests {
			bob.ask(alice, ids...)
		}
		bob.link.disconnect()
		// Alice's device takes them all at once, while it can send nothing.
		r.mu.Lock()
		box := r.boxes[alice.device]
		delete(r.boxes, alice.device)
		r.mu.Unlock()
		if len(box) < requests {
			t.Fatalf("%d requests came", len(box))
		}
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		if _, err := alice.engine.Deliver(t.Context(), box); err != nil {
			t.Fatal(err)
		}
		after := heap()
		if after > before+4<<20 { // 6,000 wishes for 60 KiB each are 350 MiB
			t.Errorf("the heap grew by %d KiB", (after-before)>>10)
		}
		var waiting int
		err := alice.st.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.AskedEnvelopes(alice.account, nil, 10*messages)
			waiting = len(list)
			return err
		})
		if err != nil || waiting != messages {
			t.Errorf("%d envelopes wait to be sealed again, %v", waiting, err)
		}
		alice.link.connect()
		settleDown(time.Minute)
		err = alice.engine.do(t.Context(), func() error {
			kept := 0
			for _, f := range alice.engine.window.flights {
				kept += len(f.ciphertext)
			}
			if kept > 0 {
				t.Errorf("%d bytes of ciphertext are kept in memory", kept)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for round := 1; round <= resealsPerHour+2; round++ {
			for _, id := range ids {
				if n, want := r.sealedFor(bob, id), min(round, resealsPerHour); n != want {
					t.Errorf("round %d: a message was sealed %d times, want %d", round, n, want)
				}
			}
			r.mu.Lock()
			delete(r.boxes, bob.device)
			r.mu.Unlock()
			bob.link.connect()
			settleDown(time.Second)
			bob.ask(alice, ids...)
			bob.ask(alice, ids...)
			bob.link.disconnect()
			settleDown(5 * time.Minute)
		}
		settleDown(time.Hour)
		bob.link.connect()
		settleDown(time.Minute)
		bob.ask(alice, ids...)
		settleDown(10 * time.Minute)
		if n := len(bob.texts("alice", local.DirectionIn)); n != messages+1 {
			t.Errorf("bob has %d messages, want %d", n, messages+1)
		}
	})
}
