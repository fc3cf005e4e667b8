package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Two messages of one device with one number are evidence that a copy of it is in
// use, and are told, once a day. What an honest device does is not: messages that
// come late, also after their gap was told, again, or before the first that came.
func TestNumberUsedTwiceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		settleDown(time.Minute)
		sealed := func(n uint64, text string) *wire.Envelope {
			return alice.envelope(bob, wire.Class_CLASS_DURABLE, plain(t, textOf(n, 1, text)))
		}
		want := func(what string, clones int) {
			t.Helper()
			settleDown(2 * time.Second)
			if got := bob.changes(alice.addr)[local.ChangeClone]; got != clones {
				t.Errorf("%s: %d events, want %d", what, got, clones)
			}
		}
		three, four, six := sealed(3, "three"), sealed(4, "four"), sealed(6, "six")
		two, five := sealed(2, "two"), sealed(5, "five")
		bob.deliver(three, four)
		bob.deliver(three) // a lost acknowledgement
		again := alice.envelopeOf(bob, wire.Class_CLASS_DURABLE, [16]byte(four.GetMessageId()), plain(t, textOf(4, 1, "four")))
		bob.deliver(again) // sealed again
		bob.deliver(six)
		settleDown(2 * time.Minute) // the gap is told
		bob.deliver(five, two)
		want("an honest device", 0)
		bob.deliver(sealed(4, "of the copy"))
		want("a copy", 1)
		bob.deliver(sealed(2, "of the copy"), sealed(6, "of the copy"), sealed(5, "of the copy"))
		want("a copy on the same day", 1)
		settleDown(25 * time.Hour)
		bob.deliver(sealed(1, "one, very late"))
		want("an honest device on another day", 1)
		bob.deliver(sealed(1, "of the copy"))
		want("a copy on another day", 2)
		if got := len(bob.texts("alice", local.DirectionIn)); got != 11 {
			t.Errorf("%d messages are shown", got)
		}
		alice.send("bob", "goes on", waitFor(waitDelivered))
	})
}

// A peer that leaves out numbers all day long does not fill the journal with gaps.
func TestManyGapsAreToldFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		for n := uint64(1); n <= 200; n += 2 {
			bob.deliver(alice.envelope(bob, wire.Class_CLASS_DURABLE, plain(t, textOf(n, 1, "x"))))
		}
		settleDown(5 * time.Minute)
		if got := len(bob.events(local.TypeSystem)); got != gapsPerDay+1 {
			t.Errorf("%d events of 99 gaps", got)
		}
	})
}
