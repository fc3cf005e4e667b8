package engine

import (
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// peersKnown counts the peers that the account has rows of.
func (p *person) peersKnown() int {
	p.t.Helper()
	n := 0
	err := p.st.View(p.t.Context(), func(tx *store.Tx) error {
		ids, err := tx.Peers(p.account)
		n = len(ids)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// A server that makes up senders leaves behind a bounded amount of ciphertext, and
// nothing once that has expired. A stranger who is one gets through all the same.
func TestInventedSendersLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		carol := join(t, r, "carol")
		carol.link.connect()
		everybody := append(p, carol)
		defer func() { stopAll(everybody...) }()
		settleDown(time.Second)
		first := carol.envelope(bob, wire.Class_CLASS_DURABLE, plain(t, textOf(1, 1, "hello")))
		before := bob.peersKnown()
		invent := func(n int, class wire.Class, change func(*wire.Envelope)) {
			t.Helper()
			for i := range n {
				env := &wire.Envelope{MessageId: make([]byte, 16), Class: class, Sender: fmt.Sprintf("ghost%d", i),
					SenderDevice: make([]byte, 16), Ciphertext: make([]byte, 400)}
				for _, b := range [][]byte{env.MessageId, env.SenderDevice, env.Ciphertext} {
					_, _ = rand.Read(b)
				}
				change(env)
				bob.deliver(env)
			}
		}
		invent(500, wire.Class_CLASS_DURABLE, func(e *wire.Envelope) { e.Ciphertext[0] = 0xff })
		invent(500, wire.Class_CLASS_ONLINE, func(*wire.Envelope) {})
		invent(50, wire.Class_CLASS_DURABLE, func(e *wire.Envelope) { // another's first message under an invented name
			e.Ciphertext, e.SenderDevice = first.GetCiphertext(), first.GetSenderDevice()
		})
		bob.engine.Stale(t.Context(), "phantom", [][]byte{{1, 2, 3}})
		if got := bob.peersKnown() - before; got != 0 {
			t.Errorf("%d peers of invented names", got)
		}
		// In the form of messages within a session: these are kept, some of them.
		invent(1000, wire.Class_CLASS_DURABLE, func(e *wire.Envelope) { e.Ciphertext[0] = 1; e.Ciphertext[1] = 2 })
		if got := bob.peersKnown() - before; got > parkedOfStrangers || got < parkedOfStrangers/2 {
			t.Errorf("%d peers of invented names", got)
		}
		// Who is known, and a true stranger, are not in the way of that.
		alice.send("bob", "of a contact", waitFor(waitDelivered))
		bob.deliver(first)
		equal(t, "bob got", bob.texts("carol", local.DirectionIn), []string{"hello"})
		bob.cfg.Retention = time.Hour
		bob.restart()
		system := len(bob.events(local.TypeSystem))
		settleDown(2 * time.Hour)
		bob.sweepNow()
		if got := bob.peersKnown() - before; got != 1 {
			t.Errorf("%d peers are known once it has expired, want the stranger", got)
		}
		if got := len(bob.events(local.TypeSystem)); got > system+1 {
			t.Errorf("%d events of what was never shown", got-system)
		}
	})
}
