package relay

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/store"
)

// pairOf creates two mutual contacts, each with both connections.
func pairOf(t *testing.T, change func(*Options)) (w *world, alice, bob *testDevice, ac, br *client) {
	w = newWorld(t, change)
	alice, bob = w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac = w.contact(alice)
	_, br = w.online(bob)
	return w, alice, bob, ac, br
}

func TestHandoffFromMemory(t *testing.T) {
	w, alice, bob, ac, br := pairOf(t, nil)
	a, b := ac.envelope(bob, 1, "one"), ac.envelope(bob, 2, "two")
	ac.send(a, b)
	got := br.receive(2)
	equal(t, "text", string(got[0].GetCiphertext())+string(got[1].GetCiphertext()), "onetwo")
	equal(t, "sender", got[0].GetSender(), "alice")
	equal(t, "sender device", key.DeviceID(got[0].GetSenderDevice()), alice.id)
	ac.noResultYet(1, 2) // delivered but not durable yet
	br.ack(1)
	equal(t, "first", ac.answer(1), "accepted")
	ac.noResultYet(2)
	br.ack(2)
	equal(t, "second", ac.answer(2), "accepted")
	s := w.relay.Stats()
	equal(t, "from memory", s.Direct, 2)
	equal(t, "by mailbox", s.Stored, 0)
	equal(t, "memory", s.MemoryBytes, 0)
	equal(t, "mailbox", w.mailbox(bob), 0)
}

func TestHandoffBound(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.HandoffWait = 20 * time.Millisecond })
	equal(t, "accepted by the mailbox", ac.say(bob, 1, "slow"), "accepted")
	equal(t, "stored", w.mailbox(bob), 1)
	equal(t, "in mailbox mode", ac.say(bob, 2, "second"), "accepted")
	equal(t, "stored", w.mailbox(bob), 2)
	// Each arrives once on this connection, although both are in the mailbox.
	equal(t, "texts", br.texts(2), "slow second")
	br.ack(2)
	poll.Until(t, "mailbox drained", func() bool { return w.mailbox(bob) == 0 })
	w.direct(bob)
	ac.send(ac.envelope(bob, 3, "fast"))
	equal(t, "texts", br.texts(1), "fast")
	br.ack(3)
	equal(t, "third", ac.answer(3), "accepted")
	equal(t, "from memory", w.relay.Stats().Direct, 1)
}

func TestTooMuchInFlight(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.HandoffEnvelopes = 3 })
	for i := range 4 {
		ac.send(ac.envelope(bob, byte(i), string(rune('a'+i))))
	}
	for i := range uint64(4) {
		equal(t, "accepted by the mailbox", ac.answer(i+1), "accepted")
	}
	equal(t, "stored in order before the one too many", w.mailbox(bob), 4)
	equal(t, "texts", br.texts(4), "a b c d")
	br.ack(4)
	poll.Until(t, "mailbox drained", func() bool { return w.mailbox(bob) == 0 })
}

func TestOfflineMailbox(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	for i := range 3 {
		equal(t, "offline", ac.say(bob, byte(i), string(rune('a'+i))), "accepted")
	}
	w.contact(bob)
	br, backlog := w.replica(bob)
	equal(t, "backlog", backlog, 3)
	equal(t, "texts", br.texts(3), "a b c")
	br.ack(2)
	poll.Until(t, "deletion", func() bool { return w.mailbox(bob) == 1 })
	must(t, br.ws.Close())
	br, backlog = w.replica(bob)
	equal(t, "backlog", backlog, 1)
	equal(t, "texts", br.texts(1), "c")
}

// TestLostConnectionKeepsOrder: envelopes in flight are committed in order, and only then reported,
// before the next connection is served.
func TestLostConnectionKeepsOrder(t *testing.T) {
	for _, end := range []string{"closed", "replaced", "unread"} {
		t.Run(end, func(t *testing.T) {
			w, _, bob, ac, br := pairOf(t, nil)
			for i := range 5 {
				ac.send(ac.envelope(bob, byte(i), string(rune('a'+i))))
			}
			if end != "unread" {
				equal(t, "texts", br.texts(5), "a b c d e")
			}
			ac.noResultYet(1, 2, 3, 4, 5)
			release := w.store.hold()
			defer release()
			if end != "replaced" {
				must(t, br.ws.Close())
			}
			next := w.connect(bob, wire.RoleReplica)
			next.write(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: bob.fence, Protocol: 1}}})
			poll.Until(t, "append", func() bool { return w.store.appending.Load() == 1 })
			ac.send(ac.envelope(bob, 5, "f"))
			ac.noResultYet(1, 2, 3, 4, 5, 6)
			release()
			if next.replicaFrame().GetOpened().GetBacklog() < 5 {
				t.Fatal("served before the commit")
			}
			for i := range uint64(6) {
				equal(t, "result", ac.answer(i+1), "accepted")
			}
			equal(t, "texts", next.texts(6), "a b c d e f")
			if end == "replaced" {
				equal(t, "older connection", br.bye().GetReason(), wire.Reason_REASON_REPLACED)
			}
			next.ack(6)
			poll.Until(t, "mailbox drained", func() bool { return w.mailbox(bob) == 0 })
		})
	}
}

// TestAckDuringCommit: an acknowledgement that arrives during the append counts at once, and the row is
// deleted after the commit.
func TestAckDuringCommit(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.HandoffWait = 10 * time.Millisecond })
	release := w.store.hold()
	defer release()
	ac.send(ac.envelope(bob, 1, "x"))
	equal(t, "texts", br.texts(1), "x")
	poll.Until(t, "append", func() bool { return w.store.appending.Load() == 1 })
	br.ack(1)
	equal(t, "result", ac.answer(1), "accepted")
	release()
	w.direct(bob)
	poll.Until(t, "deletion", func() bool { return w.mailbox(bob) == 0 })
	// Nothing is delivered twice.
	ac.send(ac.envelope(bob, 2, "y"))
	equal(t, "texts", br.texts(1), "y")
}

func TestFailedDeleteDeliversNothingTwiceAtOnce(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, nil)
	must(t, br.ws.Close())
	poll.Until(t, "disconnect", func() bool { return w.relay.Stats().Replicas == 0 })
	equal(t, "offline", ac.say(bob, 1, "x"), "accepted")
	w.store.failDelete.Store(true)
	br, _ = w.replica(bob)
	equal(t, "texts", br.texts(1), "x")
	br.ack(1)
	w.direct(bob)
	must(t, br.ws.Close())
	br, backlog := w.replica(bob)
	equal(t, "backlog", backlog, 0)
	w.direct(bob)
	ac.send(ac.envelope(bob, 2, "y"))
	equal(t, "texts", br.texts(1), "y")
	w.store.failDelete.Store(false)
	poll.Until(t, "deletion in the end", func() bool { return w.mailbox(bob) == 0 })
}

func TestFullDisk(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	w.store.failAppend.Store(true)
	ac.send(ac.envelope(bob, 1, "a"), ac.envelope(bob, 2, "b"))
	equal(t, "first", ac.answer(1), "unavailable")
	equal(t, "second", ac.answer(2), "order")
	if ac.results[1].GetRetryAfterMs() == 0 {
		t.Fatal("no time to wait")
	}
	w.store.failAppend.Store(false)
	equal(t, "first again", ac.say(bob, 1, "a"), "accepted")
	equal(t, "second again", ac.say(bob, 2, "b"), "accepted")
	equal(t, "stored", w.mailbox(bob), 2)
}

// TestGoBackN: after a temporary refusal no envelope of the pair overtakes, including those already
// under way.
func TestGoBackN(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Mailbox = store.MailboxLimits{Envelopes: 1} })
	alice, bob, carol := w.account("alice"), w.account("bob"), w.account("carol")
	w.mutual("alice", "bob", "carol")
	ac := w.contact(alice)
	ac.send(ac.envelope(bob, 1, "a"), ac.envelope(bob, 2, "b"), ac.envelope(carol, 3, "x"), ac.envelope(bob, 4, "c"))
	equal(t, "first", ac.answer(1), "accepted")
	equal(t, "second", ac.answer(2), "quota")
	equal(t, "other pair", ac.answer(3), "accepted")
	equal(t, "third", ac.answer(4), "order")
	w.contact(bob)
	br, _ := w.replica(bob)
	equal(t, "texts", br.texts(1), "a")
	br.ack(1)
	poll.Until(t, "deletion", func() bool { return w.mailbox(bob) == 0 })
	equal(t, "out of turn", ac.say(bob, 4, "c"), "order")
	ac.send(ac.envelope(bob, 2, "b"))
	equal(t, "texts", br.texts(1), "b")
	br.ack(2)
	equal(t, "in turn", ac.answer(ac.seq), "accepted")
	w.direct(bob)
	ac.send(ac.envelope(bob, 4, "c"))
	equal(t, "texts", br.texts(1), "c")
	// A new connection of the sender resets the pair.
	br.ack(3)
	equal(t, "last", ac.answer(ac.seq), "accepted")
}

// TestGivenUpEnvelopeDoesNotBlockThePair: a temporarily refused envelope expires at the sender and
// never comes again.
func TestGivenUpEnvelopeDoesNotBlockThePair(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, nil)
	must(t, br.ws.Close())
	poll.Until(t, "disconnect", func() bool { return w.relay.Stats().Replicas == 0 })
	w.store.failAppend.Store(true)
	equal(t, "first", ac.say(bob, 1, "a"), "unavailable")
	w.store.failAppend.Store(false)
	equal(t, "out of turn", ac.say(bob, 2, "b"), "order")
	o := ac.envelope(bob, 2, "b")
	o.Resume = true
	ac.send(o)
	equal(t, "the first one given up", ac.answer(o.GetSeq()), "accepted")
	equal(t, "and on", ac.say(bob, 3, "c"), "accepted")
}

// TestRefusalDuringAdmission: after an envelope is admitted, the one before it is refused, then the
// device enters direct mode. The envelope must not overtake.
func TestRefusalDuringAdmission(t *testing.T) {
	w, alice, bob, ac, br := pairOf(t, nil)
	from, to := w.relay.devices.acquire(alice.id), w.relay.devices.acquire(bob.id)
	defer from.release()
	from.mu.Lock()
	c := from.contact
	from.mu.Unlock()
	ac.seq++ // the one inserted by hand below
	mail := store.Mail{Account: "bob", Device: bob.id, Class: store.ClassDurable, MessageID: [16]byte{2}}
	second := &item{to: to, from: c, seq: ac.seq, mail: mail}
	_, second.gen = c.pairs.admit(bob.id, mail.MessageID, false)
	mail.MessageID = [16]byte{1}
	if !c.pairs.refused(&item{to: to, from: c, mail: mail}) {
		t.Fatal("the first one was not refused")
	}
	c.taken(0)
	to.deliver(second, true)
	equal(t, "result", ac.answer(second.seq), "order")
	br.ack(0) // a higher number would end the connection, since nothing was delivered
	to = w.relay.devices.peek(bob.id)
	defer to.release()
	to.mu.Lock()
	defer to.mu.Unlock()
	equal(t, "under way", len(to.replica.out)+len(to.replica.sent), 0)
}

func TestOnlineAndProbe(t *testing.T) {
	w, alice, bob, ac, br := pairOf(t, nil)
	online := func(to *testDevice, class wire.Class) uint64 {
		o := ac.envelope(to, 9, "ring")
		o.Class = class
		ac.send(o)
		return o.GetSeq()
	}
	n := online(bob, wire.Class_CLASS_ONLINE)
	got := br.receive(1)
	equal(t, "class", got[0].GetClass(), wire.Class_CLASS_ONLINE)
	br.ack(1)
	equal(t, "online", ac.answer(n), "accepted")
	n = online(bob, wire.Class_CLASS_ONLINE)
	br.receive(1)
	must(t, br.ws.Close())
	equal(t, "lost on the way", ac.answer(n), "offline!")
	equal(t, "nobody there", ac.answer(online(bob, wire.Class_CLASS_ONLINE)), "offline!")
	equal(t, "stored", w.mailbox(bob), 0)

	equal(t, "probe without replica", ac.answer(online(alice, wire.Class_CLASS_PROBE)), "offline!")
	ar, _ := w.replica(alice)
	n = online(alice, wire.Class_CLASS_PROBE)
	equal(t, "probe", ar.receive(1)[0].GetClass(), wire.Class_CLASS_PROBE)
	ar.ack(1)
	equal(t, "probe", ac.answer(n), "accepted")
	equal(t, "probe to another", ac.answer(online(bob, wire.Class_CLASS_PROBE)), "malformed!")
	equal(t, "durable to myself", ac.answer(online(alice, wire.Class_CLASS_DURABLE)), "malformed!")
	equal(t, "notice", ac.answer(online(bob, wire.Class_CLASS_NOTICE)), "malformed!")
	equal(t, "memory", w.relay.Stats().MemoryBytes, 0)

	second := w.devices("alice", alice, nil)
	equal(t, "my other device", ac.say(second, 3, "copy"), "accepted")
	equal(t, "stored", w.mailbox(second), 1)
}

// TestOnlineIsAnsweredWithoutAcknowledgement: a device that answers pings but never acknowledges does
// not block the sender's window.
func TestOnlineIsAnsweredWithoutAcknowledgement(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, func(o *Options) { o.Limits.OnlineWait, o.Limits.Ping = time.Millisecond, 2*time.Second })
	o := ac.envelope(bob, 9, "ring")
	o.Class = wire.Class_CLASS_ONLINE
	ac.send(o)
	br.receive(1)
	equal(t, "result", ac.answer(o.GetSeq()), "offline!")
	equal(t, "memory", w.relay.Stats().MemoryBytes, 0)
	br.ack(1) // late but harmless
	ac.send(ac.envelope(bob, 1, "x"))
	equal(t, "and on", br.texts(1), "x")
	br.ack(2)
	equal(t, "and on", ac.answer(ac.seq), "accepted")
}

// TestOnlineDuringABacklog: a call reaches a device that is still receiving its mail, however much of
// that is unacknowledged.
func TestOnlineDuringABacklog(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	const backlog = feedRows + 10
	for i := range backlog {
		o := ac.envelope(bob, 0, "x")
		binary.BigEndian.PutUint64(o.MessageId, uint64(i))
		ac.send(o)
	}
	for i := range uint64(backlog) {
		equal(t, "stored", ac.answer(i+1), "accepted")
	}
	w.contact(bob)
	br, _ := w.replica(bob)
	br.receive(feedRows)
	call := ac.envelope(bob, 1, "call")
	call.Class = wire.Class_CLASS_ONLINE
	ac.send(call)
	equal(t, "text", br.texts(1), "call")
	br.ack(feedRows + 1)
	equal(t, "call", ac.answer(call.GetSeq()), "accepted")
	br.receive(backlog - feedRows)
}

func TestLargeBacklog(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	const n = 1200
	for i := 0; i < n; i += 100 {
		var batch []*wire.Outgoing
		for j := range 100 {
			o := ac.envelope(bob, byte(j), "x")
			o.MessageId = append(make([]byte, 14), byte((i+j)>>8), byte(i+j))
			batch = append(batch, o)
		}
		ac.send(batch...)
		equal(t, "result", ac.answer(ac.seq), "accepted")
	}
	w.contact(bob)
	br, backlog := w.replica(bob)
	equal(t, "backlog", backlog, n)
	for i := 0; i < n; {
		d := br.replicaFrame().GetDeliver()
		for _, e := range d.GetEnvelopes() {
			equal(t, "order", int(e.GetMessageId()[14])<<8|int(e.GetMessageId()[15]), i)
			i++
		}
		br.ack(uint64(i))
	}
	poll.Until(t, "mailbox drained", func() bool { return w.mailbox(bob) == 0 })
	w.direct(bob)
}

func TestDeliverEncoding(t *testing.T) {
	at := time.UnixMilli(1_900_000_000_000)
	mails := []store.Mail{
		{MessageID: [16]byte{1}, Class: uint8(wire.Class_CLASS_DURABLE), Sender: "alice", SenderDevice: key.DeviceID{2}, Accepted: at, Expires: at.Add(time.Hour), Ciphertext: make([]byte, 300)},
		{MessageID: [16]byte{3}, Class: store.ClassNotice, Accepted: at, Expires: at, NoticeReason: store.NoticeExpired, NoticeRecipient: "bob", NoticeDevice: key.DeviceID{4}},
	}
	want := &wire.Deliver{First: 1 << 40}
	var items []*item
	for i := range mails {
		m := &mails[i]
		items = append(items, &item{mail: *m})
		e := &wire.Envelope{MessageId: m.MessageID[:], Class: wire.Class(m.Class), AcceptedMs: m.Accepted.UnixMilli(), ExpiresMs: m.Expires.UnixMilli()}
		if m.Class == store.ClassNotice {
			e.Notice = &wire.Notice{MessageId: m.MessageID[:], Recipient: "bob", Device: m.NoticeDevice[:], Reason: wire.Reason_REASON_EXPIRED}
		} else {
			e.Sender, e.SenderDevice, e.Ciphertext = "alice", m.SenderDevice[:], m.Ciphertext
		}
		want.Envelopes = append(want.Envelopes, e)
	}
	var got wire.ReplicaServer
	must(t, proto.Unmarshal(appendDeliver(nil, 1<<40, items), &got))
	if !proto.Equal(got.GetDeliver(), want) {
		t.Fatalf("got %v, want %v", got.GetDeliver(), want)
	}
}

func TestNumbersOfTheStore(t *testing.T) {
	equal(t, "durable", store.ClassDurable, uint8(wire.Class_CLASS_DURABLE))
	equal(t, "notice", store.ClassNotice, uint8(wire.Class_CLASS_NOTICE))
	equal(t, "gone", store.NoticeDeviceGone, uint8(wire.Reason_REASON_DEVICE_GONE))
	equal(t, "expired", store.NoticeExpired, uint8(wire.Reason_REASON_EXPIRED))
	equal(t, "reasons", len(wire.Reason_name), reasons)
}

func TestCloseCommitsWhatIsInFlight(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, nil)
	ac.send(ac.envelope(bob, 1, "a"), ac.envelope(bob, 2, "b"))
	equal(t, "texts", br.texts(2), "a b")
	must(t, w.relay.Close(context.Background()))
	equal(t, "stored", w.mailbox(bob), 2)
	equal(t, "contact", ac.bye().GetReason(), wire.Reason_REASON_SHUTDOWN)
	equal(t, "replica", br.bye().GetReason(), wire.Reason_REASON_SHUTDOWN)
	if _, err := w.dial(bob, wire.RoleContact); err == nil {
		t.Log("upgrade after close is cut off")
	}
}
