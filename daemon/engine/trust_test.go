package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

func (p *person) fingerprint() string {
	p.t.Helper()
	var k key.SigningPublic
	err := p.st.View(context.Background(), func(tx *store.Tx) (err error) {
		k, err = p.keys.Identity(tx, p.account)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return k.Fingerprint()
}

func (p *person) accept(who identity.Address, fp string) {
	p.t.Helper()
	err := p.st.Update(context.Background(), func(tx *store.Tx) error {
		_, err := p.trust.Accept(tx, p.account, who, fp)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.engine.Wake()
}

// sentTo counts what left for a device.
func (r *relay) sentTo(d key.DeviceID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.seen {
		if key.DeviceID(o.GetDevice()) == d {
			n++
		}
	}
	return n
}

func TestKeyChangeHoldsUntilTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, old := p[0], p[1]
		alice.send("bob", "before", waitFor(waitDelivered))
		alice.link.disconnect()
		var ids []string
		for _, s := range numbered("secret ", 50) {
			ids = append(ids, alice.send("bob", s).ID)
		}
		old.stop()
		bob := join(t, r, "bob") // another key under the same name
		defer stopAll(alice, bob)
		bob.link.connect()
		settleDown(time.Second)
		bob.add("alice")
		bob.send("alice", "trust me")
		settleDown(time.Second)

		alice.link.connect()
		settleDown(time.Minute)
		if n := r.sentTo(bob.device); n != 0 {
			t.Fatalf("%d envelopes left for the new key", n)
		}
		for _, id := range ids {
			alice.wantState("bob", id, local.StateHeld)
		}
		if res := alice.send("bob", "one more", waitFor("")); res.State != local.StateHeld || res.Error.Code != local.CodeUntrusted {
			t.Errorf("%+v", res)
		}
		equal(t, "alice got", alice.texts("bob", local.DirectionIn), nil)
		changes := alice.events(local.TypeIdentity)
		if len(changes) != 1 || changes[0].Identity.Change != local.ChangeKey || changes[0].Identity.Fingerprint != bob.fingerprint() {
			t.Fatalf("identity events: %+v", changes)
		}
		alice.restart()
		alice.link.connect()
		settleDown(time.Minute)
		if n := r.sentTo(bob.device); n != 0 {
			t.Fatalf("%d envelopes left for the new key after a restart", n)
		}
		alice.accept(bob.addr, bob.fingerprint())
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), append(numbered("secret ", 50), "one more"))
		equal(t, "alice got", alice.texts("bob", local.DirectionIn), []string{"trust me"})
		alice.wantState("bob", ids[0], local.StateDelivered)
		for _, e := range bob.history("alice") {
			if e.Direction == local.DirectionOut && e.Message.State != local.StateDelivered {
				t.Errorf("receipt after trust: %s", e.Message.State)
			}
		}
	})
}

func TestDiscardDropsWhatWasHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, old := p[0], p[1]
		alice.send("bob", "before", waitFor(waitDelivered))
		old.stop()
		bob := join(t, r, "bob")
		defer stopAll(alice, bob)
		bob.link.connect()
		settleDown(time.Second)
		held := alice.send("bob", "secret", waitFor(""))
		if held.State != local.StateHeld {
			t.Fatalf("%+v", held)
		}
		var peer store.PeerID
		_ = alice.st.View(t.Context(), func(tx *store.Tx) (err error) {
			peer, err = tx.FindPeer(alice.account, bob.addr.String())
			return err
		})
		if err := alice.engine.Discard(t.Context(), peer); err != nil {
			t.Fatal(err)
		}
		alice.accept(bob.addr, bob.fingerprint())
		settleDown(time.Minute)
		alice.wantState("bob", held.ID, local.StateFailed)
		if n := r.sentTo(bob.device); n != 0 {
			t.Errorf("%d envelopes left", n)
		}
	})
}

func TestStrangerLeavesOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		alice, dave := join(t, r, "alice"), join(t, r, "dave")
		defer stopAll(alice, dave)
		alice.link.connect()
		dave.link.connect()
		settleDown(time.Second)
		first := dave.send("alice", "hello, it is me", waitFor(""))
		second := dave.send("alice", "are you there?", waitFor(""))
		if first.State != local.StateAccepted || second.State != local.StateHeld || second.Error.Code != local.CodeRefused {
			t.Fatalf("%+v, %+v", first, second)
		}
		third := dave.send("alice", "well?", waitFor(""))
		settleDown(10 * time.Minute)
		ev := alice.events(local.TypeMessage)
		if len(ev) != 1 || !ev[0].Message.Request || ev[0].Message.Text != "hello, it is me" {
			t.Fatalf("events %+v", ev)
		}
		if _, err := alice.engine.Inbox(t.Context(), local.InboxParams{}); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Minute)
		dave.wantState("alice", first.ID, local.StateAccepted)
		if n := r.sentTo(dave.device); n != 0 {
			t.Errorf("a stranger got %d envelopes", n)
		}
		alice.restart()
		alice.link.connect()
		dave.restart()
		dave.link.connect()
		settleDown(time.Second)
		alice.add("dave")
		settleDown(time.Minute)
		dave.wantState("alice", first.ID, local.StateRead)
		dave.wantState("alice", second.ID, local.StateDelivered)
		dave.wantState("alice", third.ID, local.StateDelivered)
		equal(t, "alice got", alice.texts("dave", local.DirectionIn), []string{"hello, it is me", "are you there?", "well?"})
	})
}

func TestLongFirstTextSendsARequestWithoutText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		alice, dave := join(t, r, "alice"), join(t, r, "dave")
		defer stopAll(alice, dave)
		alice.link.connect()
		dave.link.connect()
		settleDown(time.Second)
		long := strings.Repeat("long ", 4000)
		sent := dave.send("alice", long, waitFor(""))
		if sent.State != local.StateHeld {
			t.Fatalf("%s", sent.State)
		}
		settleDown(time.Minute)
		ev := alice.events(local.TypeMessage)
		if len(ev) != 1 || !ev[0].Message.Request || ev[0].Message.Text != "" {
			t.Fatalf("events %+v", ev)
		}
		alice.add("dave")
		settleDown(time.Minute)
		dave.wantState("alice", sent.ID, local.StateDelivered)
		if got := alice.texts("dave", local.DirectionIn); len(got) != 2 || got[1] != long {
			t.Errorf("%d messages", len(got))
		}
	})
}

func TestReadReceiptsCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := bob.trust.Set(tx, bob.account, alice.addr, "receipts", "off")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		r := alice.send("bob", "seen?", waitFor(waitDelivered))
		if _, err := bob.engine.Inbox(t.Context(), local.InboxParams{From: []string{"alice"}}); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Minute)
		alice.wantState("bob", r.ID, local.StateDelivered)
		res := alice.send("bob", "and this?", func(p *local.SendParams) { p.Wait, p.Timeout = waitRead, 20 })
		if res.Error == nil || res.Error.Code != local.CodeTimeout {
			t.Errorf("%+v", res)
		}
	})
}

// inject seals a content of p for to and hands it to the relay as it is.
func (p *person) inject(to *person, c *e2e.Content, class wire.Class) store.MessageID {
	p.t.Helper()
	id, err := history.NewID()
	if err != nil {
		p.t.Fatal(err)
	}
	plain, err := e2e.Marshal(c)
	if err != nil {
		p.t.Fatal(err)
	}
	var cipher []byte
	err = p.st.Update(context.Background(), func(tx *store.Tx) error {
		peer, err := tx.Peer(p.account, to.addr.String())
		if err != nil {
			return err
		}
		t, err := p.trust.CheckSend(tx, p.account, peer, false, time.Now())
		if err != nil {
			return err
		}
		cipher, err = p.keys.Seal(tx, keyring.Target{Account: p.account, Peer: peer, Address: to.addr, Device: t.Devices[0]},
			ratchet.Class(class), id, plain, time.Now())
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.link.Send(context.Background(), []*wire.Outgoing{{
		MessageId: id[:], Class: class, Recipient: to.name, Device: to.device[:], ManifestVersion: 1, Ciphertext: cipher,
	}}, 0); err != nil {
		p.t.Fatal(err)
	}
	return id
}

func TestLiesOfAPeerChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "mallory")
		alice, bob, mallory := p[0], p[1], p[2]
		defer stopAll(p...)
		mallory.send("alice", "hi", waitFor(waitDelivered))
		toBob := alice.send("bob", "for bob", waitFor(waitDelivered))
		bob.link.disconnect()
		offline := alice.send("bob", "for bob, later", waitFor(waitServer))
		id, _ := history.ParseID(offline.ID)

		mallory.inject(alice, &e2e.Content{Kind: e2e.Kind_KIND_SYNC, Body: &e2e.Content_Sync{Sync: &e2e.Sync{
			Peer: bob.addr.String(), MessageId: make([]byte, 16), What: &e2e.Sync_Sent{Sent: &e2e.Text{Text: "never said"}}}}}, wire.Class_CLASS_DURABLE)
		mallory.inject(alice, &e2e.Content{Kind: e2e.Kind_KIND_RECEIPT, Body: &e2e.Content_Receipt{Receipt: &e2e.Receipt{
			State: e2e.ReceiptState_RECEIPT_STATE_READ, MessageIds: [][]byte{id[:]}}}}, wire.Class_CLASS_DURABLE)
		before := r.sentTo(mallory.device)
		mallory.inject(alice, &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: &e2e.Retry{
			MessageIds: [][]byte{id[:]}}}}, wire.Class_CLASS_DURABLE)
		mallory.inject(alice, &e2e.Content{Kind: e2e.Kind_KIND_TEXT, N: 9, Body: &e2e.Content_Text{Text: &e2e.Text{Text: "online"}}}, wire.Class_CLASS_ONLINE)
		settleDown(time.Minute)
		equal(t, "to bob", alice.texts("bob", local.DirectionOut), []string{"for bob", "for bob, later"})
		alice.wantState("bob", offline.ID, local.StateAccepted)
		alice.wantState("bob", toBob.ID, local.StateDelivered)
		equal(t, "from mallory", alice.texts("mallory", local.DirectionIn), []string{"hi"})
		if n := r.sentTo(mallory.device); n != before {
			t.Errorf("mallory got %d envelopes that were bob's", n-before)
		}
		c, err := alice.engine.Counts(t.Context())
		if err != nil || c[countSpoofed] != 1 || c[countMalformed] != 1 {
			t.Errorf("counts %v %v", c, err)
		}
	})
}

func TestReflectedEnvelopesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "boomerang", waitFor(waitDelivered))
		r.mu.Lock()
		for _, o := range r.seen {
			if key.DeviceID(o.GetDevice()) != bob.device {
				continue
			}
			for _, sender := range []*person{alice, bob} {
				r.boxes[alice.device] = append(r.boxes[alice.device], &wire.Envelope{
					MessageId: o.GetMessageId(), Class: o.GetClass(), Sender: sender.name, SenderDevice: sender.device[:], Ciphertext: o.GetCiphertext()})
			}
		}
		r.mu.Unlock()
		alice.link.poke()
		settleDown(time.Minute)
		equal(t, "alice got", alice.texts("bob", local.DirectionIn), nil)
		equal(t, "alice's notes", alice.texts("alice", local.DirectionIn), nil)
		bob.send("alice", "still fine", waitFor(waitDelivered))
	})
}

func TestGarbageNeverStopsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		r.mu.Lock()
		id := make([]byte, 16)
		for i, env := range []*wire.Envelope{
			{}, {MessageId: id}, {MessageId: id[:3], Class: wire.Class_CLASS_DURABLE},
			{MessageId: id, Class: wire.Class_CLASS_DURABLE, Sender: "alice", SenderDevice: alice.device[:]},
			{MessageId: id, Class: wire.Class_CLASS_DURABLE, Sender: "alice", SenderDevice: alice.device[:], Ciphertext: []byte{1, 2, 3}},
			{MessageId: id, Class: wire.Class_CLASS_DURABLE, Sender: "Al ice\x1b", SenderDevice: alice.device[:], Ciphertext: []byte{1}},
			{MessageId: id, Class: wire.Class_CLASS_DURABLE, Sender: "nobody", SenderDevice: id, Ciphertext: make([]byte, 500)},
			{MessageId: id, Class: wire.Class_CLASS_PROBE, Sender: "bob", SenderDevice: bob.device[:], Ciphertext: make([]byte, 90)},
			{Class: wire.Class_CLASS_NOTICE}, {Class: wire.Class_CLASS_NOTICE, Notice: &wire.Notice{MessageId: id, Device: id, Reason: wire.Reason_REASON_EXPIRED}},
			{Class: 77, MessageId: id, Sender: "alice", SenderDevice: alice.device[:]},
		} {
			id[0] = byte(i)
			r.boxes[bob.device] = append(r.boxes[bob.device], env)
		}
		r.mu.Unlock()
		alice.send("bob", "after")
		bob.link.connect()
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "after"})
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.boxes[bob.device]); n != 0 {
			t.Errorf("%d envelopes are not acknowledged", n)
		}
	})
}

func TestACrashIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		in := &incoming{id: store.MessageID{1}, device: p[1].device, addr: p[1].addr, class: wire.Class_CLASS_DURABLE, cipher: []byte("poison")}
		err := alice.engine.do(t.Context(), func() error {
			return alice.engine.update(func(tx *store.Tx) (err error) {
				if in.peer, err = tx.Peer(alice.account, in.addr.String()); err != nil {
					return err
				}
				return alice.engine.contain(tx, in, func() error {
					if err := tx.MarkSeen(alice.account, in.peer, in.id, 1); err != nil {
						return err
					}
					panic("decoder")
				})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = alice.st.View(t.Context(), func(tx *store.Tx) error {
			if seen, _ := tx.Seen(alice.account, in.peer, in.id); seen {
				t.Error("what it did before it crashed is kept")
			}
			list, err := tx.ParkedOf(alice.account, in.peer, store.ParkedCrashed, 10)
			if err != nil || len(list) != 1 || string(list[0].Ciphertext) != "poison" {
				t.Errorf("parked %+v %v", list, err)
			}
			return nil
		})
		p[1].send("alice", "goes on", waitFor(waitDelivered))
	})
}

// A stranger whose first message meets a damaged row was made a peer by it. That is
// undone too, and what is kept of him names a peer that exists.
func TestDamageUnderAStrangersMessageIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		who := identity.Address{User: "mallory", Domain: alice.addr.Domain}
		in := &incoming{id: store.MessageID{1}, device: p[1].device, addr: who, class: wire.Class_CLASS_DURABLE, cipher: []byte("poison")}
		err := alice.engine.do(t.Context(), func() error {
			return alice.engine.update(func(tx *store.Tx) error {
				return alice.engine.contain(tx, in, func() (err error) {
					if in.peer, err = tx.Peer(alice.account, who.String()); err != nil {
						return err
					}
					return &store.ValueError{Table: "prekeys", Column: "private", Err: errors.New("damaged")}
				})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		err = alice.st.View(t.Context(), func(tx *store.Tx) error {
			peer, err := tx.FindPeer(alice.account, who.String())
			if err != nil {
				return err
			}
			list, err := tx.ParkedOf(alice.account, peer, store.ParkedUndecryptable, 10)
			if len(list) != 1 {
				t.Errorf("parked %+v", list)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestReplacedDeviceGetsWhatIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		away := alice.send("bob", "in the old mailbox", waitFor(waitServer))
		bob.replaceDevice()
		bob.link.connect()
		settleDown(time.Second)
		next := alice.send("bob", "to the new device", waitFor(waitDelivered))
		if next.State != local.StateDelivered {
			t.Errorf("%+v", next)
		}
		settleDown(time.Minute)
		alice.wantState("bob", away.ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "in the old mailbox", "to the new device"})
		var changes []string
		for _, e := range alice.events(local.TypeIdentity) {
			changes = append(changes, e.Identity.Change)
		}
		equal(t, "changes", changes, []string{local.ChangeDeviceAdded, local.ChangeDeviceRemoved})
	})
}

func TestStaleCopySendsNothingThatItSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		alice.relay.reject = nil
		err := alice.engine.do(t.Context(), func() error { alice.engine.window.pause = time.Now().Add(time.Hour); return nil })
		if err != nil {
			t.Fatal(err)
		}
		m := alice.send("bob", "sealed?")
		err = alice.engine.do(t.Context(), func() error {
			var rows []store.Outgoing
			_ = alice.st.View(t.Context(), func(tx *store.Tx) (err error) {
				rows, err = tx.Queued(alice.account, nil, 10, 10)
				return err
			})
			_, flights, err := alice.engine.sealRows(rows)
			for _, f := range flights {
				alice.engine.window.add(f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.engine.Fatal(wire.Reason_REASON_STALE_FENCE)
		_ = alice.st.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.PendingEnvelopes(alice.account, 0, 10)
			if err != nil || len(list) != 0 {
				t.Errorf("%d sealed envelopes are kept, %v", len(list), err)
			}
			return nil
		})
		alice.wantState("bob", m.ID, local.StateQueued)
		if out, err := alice.engine.Outbox(t.Context()); err != nil || len(out.Results) != 1 {
			t.Errorf("%+v %v", out, err)
		}
	})
}
