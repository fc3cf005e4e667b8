package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

func TestOfflineAndRestartBetweenEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.link.disconnect()
		bob.link.disconnect()
		r := alice.send("bob", "through the night")
		alice.restart() // queued
		alice.wantState("bob", r.ID, local.StateQueued)
		alice.link.connect()
		settleDown(5 * time.Second)
		alice.wantState("bob", r.ID, local.StateAccepted)
		alice.restart() // accepted
		bob.restart()
		bob.link.connect()
		synctest.Wait()
		bob.link.disconnect()
		bob.restart() // the receipt is due
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"through the night"})
		bob.link.connect()
		settleDown(time.Second)
		alice.link.connect()
		settleDown(time.Second)
		alice.restart() // delivered
		alice.wantState("bob", r.ID, local.StateDelivered)
		alice.link.connect()
		bob.restart()
		bob.link.connect()
		settleDown(time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"through the night"})
	})
}

func TestLostAnswersSendTheSameCiphertextAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		r.setFaults(&faults{rng: rand.New(rand.NewPCG(1, 2)), breakAfter: 1})
		got := alice.send("bob", "hello")
		for range 5 {
			synctest.Wait()
		}
		bob.link.disconnect() // else a receipt could come before the second try, and make it needless
		settleDown(2 * time.Second)
		r.setFaults(nil)
		bob.link.connect()
		settleDown(time.Minute)
		alice.wantState("bob", got.ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"hello"})
		r.mu.Lock()
		defer r.mu.Unlock()
		var tries int
		var first string
		for _, o := range r.seen {
			id, _ := history.ParseID(got.ID)
			if string(o.GetMessageId()) != string(id[:]) {
				continue
			}
			if tries++; tries == 1 {
				first = string(o.GetCiphertext())
			} else if string(o.GetCiphertext()) != first {
				t.Error("a retry has another ciphertext")
			}
		}
		if tries < 2 {
			t.Errorf("%d tries: nothing was lost", tries)
		}
	})
}

func TestDuplicatesAreShownOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		r.setFaults(&faults{rng: rand.New(rand.NewPCG(1, 2)), duplicate: 1})
		for _, s := range numbered("m", 20) {
			alice.send("bob", s)
		}
		settleDown(10 * time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), numbered("m", 20))
		c, err := bob.engine.Counts(t.Context())
		if err != nil || c[countDuplicate] < 20 {
			t.Errorf("counts %v %v", c, err)
		}
	})
}

func TestTemporaryRejectionGoesBackInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice, bob, carol := p[0], p[1], p[2]
		defer stopAll(p...)
		busy := true
		r.reject = func(sender string, o *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_UNAVAILABLE}, busy && sender == "alice" && o.GetRecipient() == "bob"
		}
		for _, s := range numbered("m", 10) {
			alice.send("bob", s)
			alice.send("carol", s)
		}
		settleDown(10 * time.Second)
		equal(t, "carol got", carol.texts("alice", local.DirectionIn), numbered("m", 10))
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), nil)
		r.mu.Lock()
		busy = false
		r.mu.Unlock()
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), numbered("m", 10))
	})
}

// TestExpiredHeadDoesNotStopThePair: the relay waits for the message that it
// refused for a time, and that message expires before the relay takes any.
func TestExpiredHeadDoesNotStopThePair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		busy := true
		r.reject = func(sender string, o *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_UNAVAILABLE}, busy && sender == "alice"
		}
		short := alice.send("bob", "short", func(p *local.SendParams) { p.Expires = 60 })
		alice.send("bob", "long")
		settleDown(2 * time.Minute)
		alice.wantState("bob", short.ID, local.StateExpired)
		r.mu.Lock()
		busy = false
		r.mu.Unlock()
		settleDown(5 * time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"long"})
	})
}

func TestFullMailboxFailsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		full := true
		r.reject = func(sender string, o *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_QUOTA}, full && o.GetRecipient() == "bob"
		}
		a, b := alice.send("bob", "a"), alice.send("bob", "b")
		settleDown(30 * time.Second)
		alice.wantState("bob", a.ID, local.StateQueued)
		settleDown(3 * time.Minute)
		alice.wantState("bob", a.ID, local.StateFailed)
		alice.wantState("bob", b.ID, local.StateFailed)
		if c := alice.send("bob", "c", waitFor("")); c.State != local.StateFailed || c.Error.Code != local.CodeQuota {
			t.Errorf("while it is full: %+v", c)
		}
		r.mu.Lock()
		full = false
		r.mu.Unlock()
		settleDown(5 * time.Minute)
		d := alice.send("bob", "d", waitFor(waitDelivered))
		if d.State != local.StateDelivered {
			t.Errorf("after it has room: %+v", d)
		}
		alice.wantState("bob", a.ID, local.StateFailed)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "d"})
	})
}

func TestGapIsToldOnceAndAFilledOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "0", waitFor(waitDelivered))
		bob.link.disconnect()
		for _, s := range []string{"1", "2", "3", "4"} {
			alice.send("bob", s)
		}
		settleDown(time.Second)
		r.mu.Lock()
		box := r.boxes[bob.device]
		late := box[1]                                                      // "2"
		r.boxes[bob.device] = append(append(box[:0:0], box[0]), box[3:]...) // "2" late, "3" lost
		r.mu.Unlock()
		bob.link.connect()
		settleDown(30 * time.Second)
		r.mu.Lock()
		r.boxes[bob.device] = append(r.boxes[bob.device], late)
		r.mu.Unlock()
		bob.link.poke()
		settleDown(5 * time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"0", "1", "2", "4"})
		var gaps []string
		for _, e := range bob.events(local.TypeSystem) {
			if g := e.System.Gap; g != nil {
				gaps = append(gaps, fmt.Sprintf("%s %d-%d", g.Peer, g.From, g.To))
			}
		}
		equal(t, "gaps", gaps, []string{"alice@x.example 4-4"})
	})
}

func TestLostSessionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.send("alice", "yes", waitFor(waitDelivered))
		settleDown(time.Second)
		// Bob's sessions are gone, as after a damaged database.
		err := bob.st.Update(context.Background(), func(tx *store.Tx) error {
			peer, err := tx.FindPeer(bob.account, alice.addr.String())
			if err != nil {
				return err
			}
			return tx.DeleteSessions(store.DeviceRef{Account: bob.account, Peer: peer, Device: alice.device})
		})
		if err != nil {
			t.Fatal(err)
		}
		var last local.SendResult
		for _, s := range []string{"lost 1", "lost 2", "lost 3"} {
			last = alice.send("bob", s)
		}
		settleDown(time.Minute)
		alice.wantState("bob", last.ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "lost 1", "lost 2", "lost 3"})
		bob.send("alice", "healed", waitFor(waitDelivered))
		alice.send("bob", "good", waitFor(waitDelivered))
		equal(t, "alice got", alice.texts("bob", local.DirectionIn), []string{"yes", "healed"})
	})
}

func TestRebuildsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		settleDown(time.Second)
		// An evil server damages everything that Alice sends to Bob.
		r.reject = func(sender string, o *wire.Outgoing) (link.Result, bool) {
			if sender == "alice" && o.GetClass() == wire.Class_CLASS_DURABLE {
				o.Ciphertext[len(o.Ciphertext)-1] ^= 1
			}
			return link.Result{}, false
		}
		before := len(r.accounts["alice"].devices[alice.device].exchange)
		for i := range 10 {
			alice.send("bob", fmt.Sprintf("m%d", i))
			settleDown(5 * time.Minute)
		}
		used := before - len(r.accounts["alice"].devices[alice.device].exchange)
		if used < 1 || used > 2 {
			t.Errorf("%d sessions rebuilt within an hour", used)
		}
		r.mu.Lock()
		r.reject = nil
		r.mu.Unlock()
		settleDown(6 * time.Hour)
		if got := bob.texts("alice", local.DirectionIn); len(got) != 11 {
			t.Errorf("healed: %d of 11", len(got))
		}
	})
}

// TestRandomFaults sends under faults of every kind with a seed, then lets the
// network be quiet: everything queued has arrived once, in the order of its
// sender, and every state says so. SECMSG_SEED chooses another seed.
func TestRandomFaults(t *testing.T) {
	seeds := []uint64{1, 2}
	if s, err := strconv.ParseUint(os.Getenv("SECMSG_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomFaults(t, seed) })
		})
	}
}

func randomFaults(t *testing.T, seed uint64) {
	r, p := world(t, "alice", "bob", "carol")
	defer stopAll(p...)
	rng := rand.New(rand.NewPCG(seed, 7))
	chaos := &faults{rng: rand.New(rand.NewPCG(seed, 8)), breakBefore: 0.05, breakAfter: 0.1, duplicate: 0.2, mess: 0.3}
	r.setFaults(chaos)
	r.reject = func(string, *wire.Outgoing) (link.Result, bool) {
		chaos.mu.Lock()
		defer chaos.mu.Unlock()
		return link.Result{Reason: wire.Reason_REASON_UNAVAILABLE}, chaos.rng.Float64() < 0.05
	}
	type sent struct {
		from, to *person
		id       string
	}
	var all []sent
	texts := map[string][]string{}
	for i := range 60 {
		from := p[rng.IntN(len(p))]
		to := p[rng.IntN(len(p))]
		if from == to {
			continue
		}
		text := fmt.Sprintf("%s>%s %d", from.name, to.name, i)
		texts[from.name+to.name] = append(texts[from.name+to.name], text)
		all = append(all, sent{from, to, from.send(to.name, text).ID})
		switch rng.IntN(12) {
		case 0:
			from.restart()
			from.link.connect()
		case 1:
			to.restart()
			to.link.connect()
		case 2:
			to.link.disconnect()
		case 3:
			to.link.connect()
		case 4:
			settleDown(time.Duration(rng.IntN(5000)) * time.Millisecond)
		}
	}
	settleDown(10 * time.Second)
	r.mu.Lock()
	r.reject = nil
	r.mu.Unlock()
	r.setFaults(nil)
	for _, x := range p {
		x.link.connect()
	}
	settleDown(2 * time.Hour)
	for _, from := range p {
		for _, to := range p {
			if from != to {
				equal(t, from.name+" to "+to.name, to.texts(from.name, local.DirectionIn), texts[from.name+to.name])
			}
		}
	}
	for _, s := range all {
		s.from.wantState(s.to.name, s.id, local.StateDelivered)
	}
	for _, x := range p {
		for _, e := range x.events(local.TypeSystem) {
			if !strings.Contains(e.System.Text, "gap") && e.System.Gap == nil {
				t.Errorf("%s: %+v", x.name, e.System)
			}
		}
		var pending int
		_ = x.st.View(t.Context(), func(tx *store.Tx) error {
			list, err := tx.PendingEnvelopes(x.account, 0, 100)
			pending = len(list)
			return err
		})
		if pending != 0 {
			t.Errorf("%s still has %d envelopes to send", x.name, pending)
		}
	}
}
