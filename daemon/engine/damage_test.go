package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// damagedAt says where the envelopes of these tests are damaged, from the first
// byte to the last: in the clear part and in the sealed one.
func damagedAt() []float64 { return []float64{0, 0.001, 0.002, 0.003, 0.01, 0.1, 0.3, 0.5, 0.9, 1} }

func flipAt(e *wire.Envelope, at float64) {
	e.Ciphertext = slices.Clone(e.Ciphertext)
	e.Ciphertext[int(at*float64(len(e.Ciphertext)-1))] ^= 1
}

// Whatever byte of a first message is damaged on its way, it is asked for again,
// arrives, and is delivered. Each is of a sender of its own.
func TestDamagedFirstMessagesComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		bob := join(t, r, "bob")
		bob.link.connect()
		everybody := []*person{bob}
		defer func() { stopAll(everybody...) }()
		place := map[string]float64{}
		for i, at := range damagedAt() {
			p := join(t, r, fmt.Sprint("sender", i))
			p.link.connect()
			everybody = append(everybody, p)
			place[p.name] = at
			p.add("bob")
			bob.add(p.name)
		}
		settleDown(5 * time.Second)
		bob.stop()
		sent := map[string]string{}
		for _, p := range everybody[1:] {
			sent[p.name] = p.send("bob", "damaged").ID
		}
		settleDown(time.Second)
		r.mu.Lock()
		if n := len(r.boxes[bob.device]); n != len(place) {
			t.Errorf("%d envelopes are on their way", n)
		}
		for _, e := range r.boxes[bob.device] {
			flipAt(e, place[e.GetSender()])
		}
		r.mu.Unlock()
		bob.open()
		bob.run()
		bob.link.connect()
		settleDown(2 * time.Hour)
		for _, p := range everybody[1:] {
			equal(t, fmt.Sprint("damaged at ", place[p.name]), bob.texts(p.name, local.DirectionIn), []string{"damaged"})
			p.wantState("bob", sent[p.name], local.StateDelivered)
		}
	})
}

// The same within a session: every second message is damaged, each elsewhere.
func TestDamagedEnvelopesComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.send("alice", "yes", waitFor(waitDelivered))
		settleDown(time.Second)
		bob.stop()
		want, ids := []string{"before"}, []string{}
		for _, text := range numbered("m", 2*len(damagedAt())) {
			ids = append(ids, alice.send("bob", text).ID)
			want = append(want, text)
		}
		settleDown(time.Second)
		r.mu.Lock()
		box := r.boxes[bob.device]
		if len(box) != len(ids) {
			t.Errorf("%d envelopes are on their way", len(box))
		}
		for i, at := range damagedAt() {
			flipAt(box[2*i], at)
		}
		r.mu.Unlock()
		bob.open()
		bob.run()
		bob.link.connect()
		settleDown(2 * time.Hour)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), want)
		for _, id := range ids {
			alice.wantState("bob", id, local.StateDelivered)
		}
	})
}
