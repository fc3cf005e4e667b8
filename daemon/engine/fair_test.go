package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// flood keeps as much of one peer's envelopes as may be kept for a reason.
func (p *person) flood(from *person, n, reason int) {
	p.t.Helper()
	err := p.st.Update(context.Background(), func(tx *store.Tx) error {
		peer, err := tx.Peer(p.account, from.addr.String())
		if err != nil {
			return err
		}
		for i := range n {
			id := store.MessageID{0xf1, byte(i >> 8), byte(i)}
			if _, err := tx.Park(store.Parked{
				Account: p.account, Peer: peer, Device: from.device, ID: id, Class: int32(wire.Class_CLASS_DURABLE), Reason: reason,
				AtMS: p.st.ProfileTime().UnixMilli(), Ciphertext: []byte("garbage"),
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// One contact's garbage does not keep another's lost message from being asked
// for again.
func TestGarbageOfOnePeerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "mallory")
		alice, bob, mallory := p[0], p[1], p[2]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		settleDown(time.Second)
		mallory.link.disconnect()
		bob.flood(mallory, parkedPerPeer, store.ParkedUndecryptable)
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
		lost := alice.send("bob", "lost")
		settleDown(2 * time.Minute)
		alice.wantState("bob", lost.ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "lost"})
	})
}

// What waits for a decision about one peer does not keep another's quarantined
// messages from being opened.
func TestQuarantineOfOnePeerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "mallory")
		alice, bob, mallory := p[0], p[1], p[2]
		defer stopAll(p...)
		bob.flood(mallory, bob.engine.cfg.Quarantine, store.ParkedChanged)
		changed := func(who *person, key []byte) {
			t.Helper()
			err := bob.st.Update(context.Background(), func(tx *store.Tx) error {
				peer, err := tx.Peer(bob.account, who.addr.String())
				if err != nil {
					return err
				}
				c, err := tx.Contact(bob.account, peer)
				if err != nil {
					return err
				}
				c.Changed = key
				return tx.SaveContact(c)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		changed(mallory, make([]byte, 32))
		changed(alice, make([]byte, 32))
		alice.send("bob", "in quarantine")
		settleDown(time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), nil)
		changed(alice, nil)
		bob.restart()
		bob.link.connect()
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"in quarantine"})
	})
}
