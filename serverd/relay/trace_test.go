package relay

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/store"
)

// stations returns the stations of the message whose id ends in id.
func stations(w *world, id byte) string {
	var names []string
	for _, s := range w.relay.Trace([16]byte{15: id}) {
		names = append(names, strings.TrimSpace(s.Station.String()+" "+s.ReasonName()))
	}
	return strings.Join(names, ", ")
}

func TestTraceFollowsAMessage(t *testing.T) {
	w, alice, bob, ac, br := pairOf(t, nil)
	ac.send(ac.envelope(bob, 1, "from memory"))
	br.receive(1)
	br.ack(1)
	equal(t, "result", ac.answer(1), "accepted")
	equal(t, "from memory", stations(w, 1), "received, sent, acknowledged")
	step := w.relay.Trace([16]byte{15: 1})[0]
	equal(t, "sender", step.Sender, "alice")
	equal(t, "sender's device", step.SenderDevice, alice.id)
	equal(t, "recipient", step.Recipient, "bob")
	equal(t, "recipient's device", step.Device, bob.id)
	equal(t, "class", step.ClassName(), "durable")

	must(t, br.ws.Close())
	poll.Until(t, "bob is away", func() bool { return w.relay.Stats().Replicas == 0 })
	equal(t, "to the mailbox", ac.say(bob, 2, "later"), "accepted")
	equal(t, "in the mailbox", stations(w, 2), "received, stored")
	br, _ = w.replica(bob)
	br.receive(1)
	br.ack(1)
	poll.Until(t, "fetched", func() bool { return stations(w, 2) == "received, stored, sent, acknowledged" })

	unknown := ac.envelope(bob, 3, "to nobody")
	unknown.Recipient = "nobody"
	ac.send(unknown)
	equal(t, "result", ac.answer(3), "unknown!")
	equal(t, "refused", stations(w, 3), "received, refused unknown")
	equal(t, "never seen", len(w.relay.Trace([16]byte{15: 99})), 0)
}

func TestStationsAreLogged(t *testing.T) {
	log := new(poll.Buffer)
	_, _, bob, ac, br := pairOf(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ac.send(ac.envelope(bob, 1, "a text that is nobody's business"))
	br.receive(1)
	br.ack(1)
	equal(t, "result", ac.answer(1), "accepted")
	for _, want := range []string{
		"message=00000000-0000-0000-0000-000000000001 account=alice peer=bob device=" + bob.id.String() + " class=durable state=received",
		"state=sent", "state=acknowledged",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %q:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "business") {
		t.Errorf("the log has the ciphertext:\n%s", log)
	}
}

// TestTraceIsBounded adds more steps than the trace keeps: memory stays bounded, and the newest steps
// stay.
func TestTraceIsBounded(t *testing.T) {
	var tr trace
	add := func(i int, station Station) {
		m := store.Mail{MessageID: [16]byte{byte(i), byte(i >> 8), 15: 5}}
		tr.add(station, &m, 0, time.Unix(int64(i), 0))
	}
	for i := range 3 * traceSteps {
		add(i, Received)
	}
	equal(t, "kept", len(tr.shards[5].steps), traceSteps)
	last := 3*traceSteps - 1
	equal(t, "newest", len(tr.of([16]byte{byte(last), byte(last >> 8), 15: 5})), 1)
	equal(t, "oldest", len(tr.of([16]byte{15: 5})), 0)
	for _, station := range []Station{Received, Stored, Sent} {
		add(0, station)
	}
	got := tr.of([16]byte{15: 5})
	equal(t, "steps", len(got), 3)
	for i, want := range []Station{Received, Stored, Sent} {
		equal(t, "order", got[i].Station, want)
	}
}

func TestStationNames(t *testing.T) {
	for s := Received; s <= Expired; s++ {
		if s.String() == "" || s.String() == "unknown" {
			t.Errorf("station %d has no name", s)
		}
	}
	equal(t, "no station", Station(0).String(), "unknown")
	equal(t, "no station", (Expired + 1).String(), "unknown")
	equal(t, "class", Step{Class: wire.Class_CLASS_ONLINE}.ClassName(), "online")
}

func BenchmarkTrace(b *testing.B) {
	r := &Relay{log: slog.New(slog.DiscardHandler)}
	b.RunParallel(func(pb *testing.PB) {
		m := store.Mail{Account: "bob", Sender: "alice"}
		for pb.Next() {
			m.MessageID[15]++
			r.passed(Sent, &m, 0, time.Time{})
		}
	})
}
