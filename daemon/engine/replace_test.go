package engine

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// replaceDevice makes a new device in the place of p's, as the daemon does when
// the server calls its copy old: the relay drops the old one with its mailbox.
// The link stays down.
func (p *person) replaceDevice() {
	p.t.Helper()
	ctx := context.Background()
	p.link.disconnect()
	p.engine.Fatal(wire.Reason_REASON_STALE_FENCE)
	if err := p.engine.Suspend(ctx, nil); err != nil {
		p.t.Fatal(err)
	}
	settleDown(time.Second)
	err := p.st.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(p.account)
		if err != nil {
			return err
		}
		rep, err := p.keys.PrepareReplacement(tx, p.account, a.Manifest, time.Now())
		if err != nil {
			return err
		}
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		acct := p.relay.accounts[p.name]
		acct.manifests = append(acct.manifests, rep.Manifest)
		delete(acct.devices, p.device)
		delete(p.relay.boxes, p.device)
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.st.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Restart(p.account); err != nil {
			return err
		}
		return p.keys.FinishReplacement(tx, p.account)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.keys.Forget()
	err = p.st.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(p.account)
		p.device = a.Device
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.link.mu.Lock()
	p.link.device = p.device
	p.link.mu.Unlock()
	if err := p.engine.Resume(ctx, p.device); err != nil {
		p.t.Fatal(err)
	}
}

// systemTexts returns what the journal's system events say.
func (p *person) systemTexts() []string {
	var out []string
	for _, e := range p.events(local.TypeSystem) {
		switch {
		case e.System.Gap != nil:
			out = append(out, "gap")
		default:
			out = append(out, e.System.Text)
		}
	}
	return out
}

// Mail that the server took from a device which is replaced before the recipient
// fetches it arrives once and in order, whatever comes of the mailbox: the
// recipient learns of the removal first, and reads the old device's mail, or gets
// it again from the new one. Every state ends as delivered.
func TestMailInFlightSurvivesAReplacedDevice(t *testing.T) {
	for name, c := range map[string]struct {
		fresh    bool // the first messages at all: they begin a session
		lost     bool // the server loses the mailbox
		unopened bool // the recipient fetches it, and has no session for it
		queued   bool // the recipient sends first, and so learns of the new device
	}{
		"fetched":               {},
		"learned first":         {queued: true},
		"first messages":        {fresh: true},
		"first, learned first":  {fresh: true, queued: true},
		"lost":                  {lost: true},
		"lost, learned first":   {lost: true, queued: true},
		"does not open":         {unopened: true},
		"does not open, learnt": {unopened: true, queued: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := world(t, "alice", "bob")
				alice, bob := p[0], p[1]
				defer stopAll(p...)
				var want []string
				if !c.fresh {
					alice.send("bob", "before", waitFor(waitDelivered))
					bob.send("alice", "yes", waitFor(waitDelivered))
					want = append(want, "before")
				}
				settleDown(time.Second)
				bob.link.disconnect()
				var sent []local.SendResult
				for _, text := range []string{"one", "two"} {
					want = append(want, text)
					sent = append(sent, alice.send("bob", text, waitFor(waitServer)))
				}
				if c.queued {
					bob.send("alice", "hello")
				}
				old := alice.device
				alice.replaceDevice()
				if c.lost {
					r.mu.Lock()
					delete(r.boxes, bob.device)
					r.mu.Unlock()
				}
				if c.unopened {
					err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
						peer, err := tx.FindPeer(bob.account, alice.addr.String())
						if err != nil {
							return err
						}
						return tx.DeleteSessions(store.DeviceRef{Account: bob.account, Peer: peer, Device: old})
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if c.queued { // the manifest comes before the mail
					alice.link.connect()
					settleDown(time.Second)
					r.mu.Lock()
					box := r.boxes[bob.device]
					delete(r.boxes, bob.device)
					r.mu.Unlock()
					bob.link.connect()
					settleDown(5 * time.Second)
					r.mu.Lock()
					r.boxes[bob.device] = append(r.boxes[bob.device], box...)
					r.mu.Unlock()
					bob.link.poke()
				} else {
					bob.link.connect()
				}
				settleDown(time.Minute)
				alice.link.connect()
				settleDown(time.Minute)
				want = append(want, "three", "four")
				for _, text := range []string{"three", "four"} {
					sent = append(sent, alice.send("bob", text, waitFor(waitDelivered)))
				}
				settleDown(10 * time.Minute)
				equal(t, "bob got", bob.texts("alice", local.DirectionIn), want)
				for _, s := range sent {
					alice.wantState("bob", s.ID, local.StateDelivered)
				}
				equal(t, "alice shows", alice.texts("bob", local.DirectionOut), want)
				equal(t, "bob is told", bob.systemTexts(), nil)
				bob.send("alice", "bye", waitFor(waitDelivered))
				if got := alice.texts("bob", local.DirectionIn); !slices.Contains(got, "bye") || c.queued && !slices.Contains(got, "hello") {
					t.Errorf("alice got %q", got)
				}
			})
		})
	}
}

// A receipt that was on its way to a device that is replaced is given again when
// the message comes again: its sender does not call it expired.
func TestReceiptToAReplacedDeviceComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		m := alice.send("bob", "read by then", waitFor(waitServer))
		alice.link.disconnect()
		bob.link.connect()
		settleDown(time.Second)
		if _, err := bob.engine.Inbox(t.Context(), local.InboxParams{}); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Minute)
		r.mu.Lock()
		if len(r.boxes[alice.device]) == 0 {
			t.Error("no receipt is on its way")
		}
		r.mu.Unlock()
		alice.replaceDevice()
		// Bob's control content to the old device is done with: he must not need it.
		err := bob.engine.do(t.Context(), func() error {
			return bob.engine.update(func(tx *store.Tx) error {
				peer, err := tx.FindPeer(bob.account, alice.addr.String())
				if err != nil {
					return err
				}
				rows, err := tx.OutgoingOf(bob.account, peer, store.PhaseAccepted)
				if err != nil {
					return err
				}
				for _, o := range rows {
					if err := tx.DeleteOutgoing(bob.account, o.ID); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.link.connect()
		settleDown(5 * time.Minute)
		alice.wantState("bob", m.ID, local.StateRead)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "read by then"})
	})
}

// A notice that a mailbox went with its device is no end while the account has
// another device: the message is sealed for that, also when the new device was
// made known by its own first message.
func TestNoticeOfAGoneDeviceSealsForTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		m := alice.send("bob", "in the old mailbox", waitFor(waitServer))
		old := bob.device
		bob.replaceDevice()
		id, err := history.ParseID(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		bob.link.connect()
		settleDown(time.Second)
		r.mu.Lock()
		r.boxes[alice.device] = append(r.boxes[alice.device], &wire.Envelope{
			Class:  wire.Class_CLASS_NOTICE,
			Notice: &wire.Notice{MessageId: id[:], Device: old[:], Reason: wire.Reason_REASON_DEVICE_GONE},
		})
		r.mu.Unlock()
		alice.link.poke()
		settleDown(time.Minute)
		alice.wantState("bob", m.ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "in the old mailbox"})
	})
}

// A device that is listed and whose keys are not at the server yet, because it was
// stopped between the two, fails nothing: messages and receipts wait for its keys,
// and of a device that has none after a day it is said that there are none.
func TestMessagesWaitForTheKeysOfANewDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		sent := []string{alice.send("bob", "in the old mailbox", waitFor(waitServer)).ID}
		old := bob.device
		bob.replaceDevice() // and it uploads no keys
		id, err := history.ParseID(sent[0])
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.boxes[alice.device] = append(r.boxes[alice.device], &wire.Envelope{
			Class:  wire.Class_CLASS_NOTICE,
			Notice: &wire.Notice{MessageId: id[:], Device: old[:], Reason: wire.Reason_REASON_DEVICE_GONE},
		})
		r.mu.Unlock()
		alice.link.poke()
		sent = append(sent, alice.send("bob", "for the new device").ID)
		settleDown(12 * time.Hour)
		for _, m := range sent {
			if state := alice.stateOf("bob", m); state == local.StateFailed {
				t.Errorf("%s while the new device has no keys", state)
			}
		}
		alice.send("carol", "meanwhile", waitFor(waitDelivered))
		alice.restart()
		alice.link.connect()
		settleDown(time.Hour)
		bob.link.connect()
		settleDown(time.Hour)
		for _, m := range sent {
			alice.wantState("bob", m, local.StateDelivered)
		}
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "in the old mailbox", "for the new device"})

		bob.link.disconnect()
		bob.replaceDevice()
		settleDown(25 * time.Hour)
		last := alice.send("bob", "to a device without keys")
		settleDown(time.Hour)
		alice.wantState("bob", last.ID, local.StateFailed)
	})
}

// The device that sealed a message is asked first, then the others of its
// account; one that was removed never.
func TestWhomToAsk(t *testing.T) {
	a, b, c := key.DeviceID{1}, key.DeviceID{2}, key.DeviceID{3}
	for _, tc := range []struct {
		sealed key.DeviceID
		listed []key.DeviceID
		want   []key.DeviceID // one try after the other
	}{
		{b, []key.DeviceID{a, b, c}, []key.DeviceID{b, a, c, b}},
		{b, []key.DeviceID{a, c}, []key.DeviceID{a, c, a}},
		{b, []key.DeviceID{b}, []key.DeviceID{b, b}},
		{b, nil, []key.DeviceID{b, b}},
	} {
		for asks, want := range tc.want {
			if got := whomToAsk(store.Parked{Device: tc.sealed, Asks: asks}, tc.listed); got != want {
				t.Errorf("sealed by %v of %v, try %d: %v, want %v", tc.sealed, tc.listed, asks, got, want)
			}
		}
	}
}
