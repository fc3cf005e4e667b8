package relay

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/clock/clocktest"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

func TestRulesOfSending(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	blocker, stranger, gone := w.account("blocker"), w.account("stranger"), w.account("gone")
	suspended := w.account("suspended")
	w.mutual("alice", "bob", "gone", "suspended")
	w.relate("alice", "blocker", store.RelationContact)
	w.relate("blocker", "alice", store.RelationBlocked)
	w.relate("alice", "stranger", store.RelationContact)
	w.devices("gone", nil)
	must(t, w.store.SetSuspended(context.Background(), "suspended", true))
	must(t, w.relay.AccountChanged(context.Background(), "suspended"))
	ac := w.contact(alice)
	big := strings.Repeat("x", wire.MaxCiphertext)
	for _, c := range []struct {
		name   string
		to     *testDevice
		change func(*wire.Outgoing)
		want   string
	}{
		{"plain", bob, func(*wire.Outgoing) {}, "accepted"},
		{"largest", bob, func(o *wire.Outgoing) { o.Ciphertext = []byte(big) }, "accepted"},
		{"too large", bob, func(o *wire.Outgoing) { o.Ciphertext = []byte(big + "x") }, "too_large!"},
		{"empty", bob, func(o *wire.Outgoing) { o.Ciphertext = nil }, "malformed!"},
		{"short id", bob, func(o *wire.Outgoing) { o.MessageId = o.MessageId[:15] }, "malformed!"},
		{"long id", bob, func(o *wire.Outgoing) { o.MessageId = make([]byte, 17) }, "malformed!"},
		{"no id", bob, func(o *wire.Outgoing) { o.MessageId = nil }, "malformed!"},
		{"short device", bob, func(o *wire.Outgoing) { o.Device = o.Device[:3] }, "malformed!"},
		{"no recipient", bob, func(o *wire.Outgoing) { o.Recipient = "" }, "malformed!"},
		{"long recipient", bob, func(o *wire.Outgoing) { o.Recipient = big[:65] }, "malformed!"},
		{"no class", bob, func(o *wire.Outgoing) { o.Class = 0 }, "malformed!"},
		{"unknown class", bob, func(o *wire.Outgoing) { o.Class = 77 }, "malformed!"},
		{"expired", bob, func(o *wire.Outgoing) { o.ExpiresMs = 1 }, "expired!"},
		{"negative expiry", bob, func(o *wire.Outgoing) { o.ExpiresMs = -1 }, "expired!"},
		{"injection", bob, func(o *wire.Outgoing) { o.Recipient = "bob' OR '1'='1" }, "unknown!"},
		{"unknown", bob, func(o *wire.Outgoing) { o.Recipient = "nobody" }, "unknown!"},
		{"device of another account", bob, func(o *wire.Outgoing) { o.Device = alice.id[:] }, "device_gone!"},
		{"blocked", blocker, func(*wire.Outgoing) {}, "blocked!"},
		{"blocked online", blocker, func(o *wire.Outgoing) { o.Class = wire.Class_CLASS_ONLINE }, "blocked!"},
		{"online to a stranger", stranger, func(o *wire.Outgoing) { o.Class = wire.Class_CLASS_ONLINE }, "request"},
		{"device gone", gone, func(*wire.Outgoing) {}, "device_gone!"},
		{"suspended", suspended, func(*wire.Outgoing) {}, "suspended!"},
	} {
		o := ac.envelope(c.to, 1, "text")
		c.change(o)
		ac.send(o)
		equal(t, c.name, ac.answer(o.GetSeq()), c.want)
	}
	equal(t, "stored for the blocker", w.mailbox(blocker), 0)
	equal(t, "memory", w.relay.Stats().MemoryBytes, 0)
}

// TestExpiryOfTheSenderCounts: an envelope expires at the time given by its sender, at the latest after
// the retention.
func TestExpiryOfTheSenderCounts(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	soon := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for i, ms := range []int64{soon.UnixMilli(), 1 << 60, 0} {
		o := ac.envelope(bob, byte(i), "x")
		o.ExpiresMs = ms
		ac.send(o)
		equal(t, "result", ac.answer(o.GetSeq()), "accepted")
	}
	mails, err := w.store.Read(context.Background(), bob.id, 0, 10, 1000)
	must(t, err)
	equal(t, "sooner", mails[0].Expires.UnixMilli(), soon.UnixMilli())
	for _, m := range mails[1:] {
		if d := m.Expires.Sub(m.Accepted); d > wire.MailboxRetention || d < wire.MailboxRetention-time.Minute {
			t.Fatalf("kept for %v", d)
		}
	}
}

func TestStrangerLeavesOneRequest(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	second := w.devices("bob", bob, nil)
	ac := w.contact(alice)
	_, br := w.online(bob)
	request := strings.Repeat("r", wire.MaxRequestCiphertext)
	equal(t, "too large for a request", ac.say(bob, 1, request+"r"), "request")
	equal(t, "request", ac.say(bob, 2, request), "accepted")
	equal(t, "its other device", ac.say(second, 2, request), "accepted")
	for range 20 {
		equal(t, "another", ac.say(bob, 3, "flood"), "request")
		equal(t, "retry", ac.say(bob, 2, "retry"), "accepted")
		equal(t, "retry", ac.say(second, 2, "retry"), "accepted")
	}
	equal(t, "stored for one device", w.mailbox(bob), 1)
	equal(t, "stored for the other", w.mailbox(second), 1)
	equal(t, "delivered once", br.texts(1), request)
	br.ack(1)
	poll.Until(t, "deletion", func() bool { return w.mailbox(bob) == 0 })
	equal(t, "retry after delivery", ac.say(bob, 2, "retry"), "accepted")
	equal(t, "stored", w.mailbox(bob), 0)
	equal(t, "from memory", w.relay.Stats().Direct, 0) // the speed reveals nothing to a stranger
	// The refusals do not block the pair, and it works once the recipient accepts.
	w.relate("bob", "alice", store.RelationContact)
	equal(t, "accepted by bob", ac.say(bob, 3, strings.Repeat("x", 50_000)), "accepted")
	equal(t, "not mutual: not from memory", w.relay.Stats().Direct, 0)
	equal(t, "text", len(br.texts(1)), 50_000)
	br.ack(2)
	poll.Until(t, "deletion", func() bool { return w.mailbox(bob) == 0 })
	w.relate("alice", "bob", store.RelationContact)
	w.direct(bob)
	ac.send(ac.envelope(bob, 4, "y"))
	equal(t, "text", br.texts(1), "y")
	br.ack(3)
	equal(t, "mutual", ac.answer(ac.seq), "accepted")
	equal(t, "from memory", w.relay.Stats().Direct, 1)
}

func TestGuessesAtNamesAreBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Strangers = limit.Rate{Burst: 5, Every: never} })
	alice, bob, carol := w.account("alice"), w.account("bob"), w.account("carol")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	for i := range 7 {
		o := ac.envelope(carol, byte(i), "x")
		o.Recipient = "guess" + string(rune('a'+i))
		o.Device = random(16)
		ac.send(o)
		want := "unknown!"
		if i >= 5 {
			want = "rate"
		}
		equal(t, "guess", ac.answer(o.GetSeq()), want)
	}
	equal(t, "one that exists looks the same", ac.say(carol, 20, "x"), "rate")
	equal(t, "contacts are reached", ac.say(bob, 21, "x"), "accepted")
}

func TestStaleManifest(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	second := w.devices("bob", bob, nil)
	third := w.devices("bob", second, nil)
	ac := w.contact(alice)
	old := func(to *testDevice, id byte) *wire.Outgoing {
		o := ac.envelope(to, id, "x")
		o.ManifestVersion = 1
		return o
	}
	gone, listed := old(bob, 1), old(second, 1)
	ac.send(gone, listed)
	// The manifests come before any result.
	first := ac.contactFrame().GetStale()
	equal(t, "account", first.GetAccount(), "bob")
	equal(t, "manifests", string(bytes.Join(first.GetManifests(), []byte(", "))), "manifest 2 of bob, manifest 3 of bob")
	equal(t, "not listed", ac.answer(gone.GetSeq()), "device_gone!")
	equal(t, "still listed", ac.answer(listed.GetSeq()), "accepted")
	// They are sent once per connection.
	again := old(second, 2)
	ac.send(again)
	equal(t, "again", ac.answer(again.GetSeq()), "accepted")
	equal(t, "stale frames", len(ac.stale), 0)
	equal(t, "new device", ac.say(third, 2, "x"), "accepted")
}

// TestNewDeviceIsNeverGone: no device is refused because the cache does not know it yet.
func TestNewDeviceIsNeverGone(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	equal(t, "warm the cache", ac.say(bob, 1, "x"), "accepted")
	second := &testDevice{account: "bob", id: [16]byte{1}}
	old := w.manifests["bob"]
	must(t, w.store.PutManifest(context.Background(), "bob", old.Hash, w.manifest("bob", 2, bob, second), time.Now()))
	equal(t, "new device", ac.say(second, 2, "x"), "accepted")
	// A new contact is not refused either.
	carol := w.account("carol")
	equal(t, "request", ac.say(carol, 3, "x"), "accepted")
	must(t, w.store.SetRelation(context.Background(), "carol", "alice", store.RelationContact))
	equal(t, "contact", ac.say(carol, 4, "x"), "accepted")
}

func TestRateOfAnAccount(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Messages = limit.Rate{Burst: 3, Every: never} })
	alice, bob := w.account("alice"), w.account("bob")
	second := w.devices("bob", bob, nil)
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	for i := range 3 {
		equal(t, "within the burst", ac.say(bob, byte(i), "x"), "accepted")
		equal(t, "the same message to another device", ac.say(second, byte(i), "x"), "accepted")
	}
	equal(t, "one more", ac.say(bob, 9, "x"), "rate")
	if ac.results[ac.seq].GetRetryAfterMs() <= 0 {
		t.Fatal("no time to wait")
	}
	equal(t, "what follows it", ac.say(bob, 10, "x"), "order")
	// A new connection does not reset the rate.
	must(t, ac.ws.Close())
	ac = w.contact(alice)
	equal(t, "after reconnecting", ac.say(bob, 9, "x"), "rate")
}

func TestMemoryBudget(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.MemoryBytes = 1000 })
	ac.send(ac.envelope(bob, 1, strings.Repeat("x", 900)))
	br.receive(1)
	equal(t, "beyond the budget", ac.say(bob, 2, strings.Repeat("y", 200)), "unavailable")
	br.ack(1)
	equal(t, "first", ac.answer(1), "accepted")
	equal(t, "memory", w.relay.Stats().MemoryBytes, 0)
	ac.send(ac.envelope(bob, 2, strings.Repeat("y", 200)))
	br.receive(1)
	br.ack(2)
	equal(t, "again", ac.answer(ac.seq), "accepted")
}

// TestSendWindow: the relay stops reading from a connection with too many unanswered envelopes, and
// continues when results come.
func TestSendWindow(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.SendWindow = 4 })
	for i := range 10 {
		ac.send(ac.envelope(bob, byte(i), "x"))
	}
	br.receive(4)
	equal(t, "taken", w.relay.Stats().MemoryBytes, 4)
	for br.next <= 10 {
		br.ack(br.next - 1)
		n := len(br.replicaFrame().GetDeliver().GetEnvelopes())
		if br.next += uint64(n); n > 4 {
			t.Fatalf("%d envelopes in a window of 4", n)
		}
	}
	br.ack(10)
	for i := range uint64(10) {
		equal(t, "result", ac.answer(i+1), "accepted")
	}
}

func TestSequenceNumbers(t *testing.T) {
	for name, seqs := range map[string][]uint64{"gap": {1, 3}, "repeated": {1, 1}, "zero": {0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			alice, bob := w.account("alice"), w.account("bob")
			w.mutual("alice", "bob")
			ac := w.contact(alice)
			send := &wire.Send{}
			for _, seq := range seqs {
				o := ac.envelope(bob, 1, "x")
				o.Seq = seq
				send.Envelopes = append(send.Envelopes, o)
			}
			ac.write(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: send}})
			equal(t, "reason", ac.bye().GetReason(), wire.Reason_REASON_PROTOCOL)
		})
	}
}

func TestNotices(t *testing.T) {
	clock := clocktest.Running()
	w := newWorld(t, func(o *Options) { o.Now = clock.Now; o.Limits.Sweep = 5 * time.Millisecond })
	alice, bob, carol := w.account("alice"), w.account("bob"), w.account("carol")
	w.mutual("alice", "bob", "carol")
	ac := w.contact(alice)
	ar, _ := w.replica(alice)
	w.direct(alice)
	equal(t, "will be dropped", ac.say(bob, 1, "x"), "accepted")
	w.devices("bob", nil)
	equal(t, "notice", ar.texts(1), "device_gone(1)")
	short := ac.envelope(carol, 2, "x")
	short.ExpiresMs = clock.Now().Add(time.Minute).UnixMilli()
	ac.send(short)
	equal(t, "will expire", ac.answer(short.GetSeq()), "accepted")
	clock.Advance(2 * time.Minute)
	equal(t, "notice", ar.texts(1), "expired(2)")
	ar.ack(2)
	poll.Until(t, "notices are deleted when acknowledged", func() bool { return w.mailbox(alice) == 0 })
	equal(t, "expired", w.relay.Stats().Expired, 1)
}

func TestHeldClockSweepsNothing(t *testing.T) {
	clock := clocktest.Running()
	var held, looked atomic.Bool
	held.Store(true)
	w := newWorld(t, func(o *Options) {
		o.Now, o.Limits.Sweep = clock.Now, 5*time.Millisecond
		o.Held = func() bool { looked.Store(true); return held.Load() }
	})
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	equal(t, "accepted", w.contact(alice).say(bob, 1, "x"), "accepted")
	clock.Advance(10 * 365 * 24 * time.Hour)
	for range 3 {
		looked.Store(false)
		poll.Until(t, "time for a sweep", looked.Load)
	}
	equal(t, "stored", w.mailbox(bob), 1)
	held.Store(false)
	poll.Until(t, "sweep after confirmation", func() bool { return w.mailbox(bob) == 0 })
}

// A sender whose clock is right does not get "expired" from a server whose clock is years ahead and not
// trusted.
func TestHeldClockRefusesNothingAsExpired(t *testing.T) {
	clock := clocktest.Running()
	var held atomic.Bool
	w := newWorld(t, func(o *Options) { o.Now, o.Held = clock.Now, held.Load })
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	late := ac.envelope(bob, 1, "x")
	late.ExpiresMs = clock.Now().Add(time.Hour).UnixMilli()
	clock.Advance(10 * 365 * 24 * time.Hour)
	held.Store(true)
	ac.send(late)
	equal(t, "while the clock is held", ac.answer(1), "accepted")
	held.Store(false)
	later := ac.envelope(bob, 2, "y")
	later.ExpiresMs = late.ExpiresMs
	ac.send(later)
	equal(t, "by a clock that is believed", ac.answer(2), "expired!")
}

func TestRevocation(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, nil)
	bc := w.connect(bob, wire.RoleContact)
	ac.send(ac.envelope(bob, 1, "x"))
	br.receive(1)
	// The relay was not informed; its poll finds the change.
	old := w.manifests["bob"]
	must(t, w.store.PutManifest(context.Background(), "bob", old.Hash, w.manifest("bob", 2), time.Now()))
	equal(t, "replica", br.bye().GetReason(), wire.Reason_REASON_REVOKED)
	equal(t, "opening contact", bc.bye().GetReason(), wire.Reason_REASON_REVOKED)
	equal(t, "in flight", ac.answer(1), "device_gone!")
	// A token from before the revocation does not work.
	late := w.connect(bob, wire.RoleContact)
	late.fence(nil, 1<<40)
	equal(t, "late", late.bye().GetReason(), wire.Reason_REASON_REVOKED)
}

func TestSuspension(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	ac := w.contact(alice)
	must(t, w.store.SetSuspended(context.Background(), "alice", true))
	must(t, w.relay.AccountChanged(context.Background(), "alice"))
	equal(t, "reason", ac.bye().GetReason(), wire.Reason_REASON_SUSPENDED)
	// A connection whose token was checked just before the suspension is refused.
	late := w.connect(alice, wire.RoleContact)
	late.fence(alice.fence, alice.steps)
	equal(t, "opening contact", late.bye().GetReason(), wire.Reason_REASON_SUSPENDED)
	replica := w.connect(alice, wire.RoleReplica)
	replica.write(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: alice.fence, Protocol: 1}}})
	equal(t, "opening replica", replica.bye().GetReason(), wire.Reason_REASON_SUSPENDED)
}

func TestStepsAreFlushedInTime(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.StepsFlush = 5 * time.Millisecond })
	alice := w.account("alice")
	ac := w.contact(alice)
	ac.write(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Steps: 77}}})
	poll.Until(t, "steps durable while connected", func() bool {
		f, err := w.store.Fence(context.Background(), alice.id)
		return err == nil && f.Steps == 77
	})
}

func TestStatsNames(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	ac := w.contact(alice)
	equal(t, "first", ac.say(bob, 1, "x"), "accepted")
	equal(t, "second", ac.say(bob, 2, "x"), "request")
	s := w.relay.Stats()
	equal(t, "rejected", s.Rejected["request"], 1)
	equal(t, "contacts", s.Contacts, 1)
	equal(t, "devices", s.Devices, 1)
	if s.BytesIn == 0 || s.BytesOut == 0 {
		t.Fatal("bytes are not counted")
	}
}
