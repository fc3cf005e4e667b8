package engine

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// linkDevice signs a manifest with one more device, of which the relay has no
// keys.
func (p *person) linkDevice() key.DeviceID {
	p.t.Helper()
	var signed []byte
	signing, exchange := key.GenerateSigning(), key.GenerateExchange()
	id := key.NewDeviceID(signing.Public(), exchange.Public())
	err := p.st.View(context.Background(), func(tx *store.Tx) error {
		a, err := tx.Account(p.account)
		if err != nil {
			return err
		}
		seed, err := tx.Key(p.account, store.KeyIdentity)
		if err != nil {
			return err
		}
		priv, err := key.ParseSigningSeed(seed)
		if err != nil {
			return err
		}
		m, err := identity.VerifyManifest(a.Manifest, p.addr, priv.Public())
		if err != nil {
			return err
		}
		m.Version, m.Previous = m.Version+1, identity.ManifestHash(a.Manifest)
		m.Devices = append(m.Devices, identity.Device{
			ID: id, Signing: signing.Public(), Exchange: exchange.Public(), Name: "phone", Added: m.Time})
		slices.SortFunc(m.Devices, func(a, b identity.Device) int { return slices.Compare(a.ID[:], b.ID[:]) })
		signed, err = m.Sign(priv)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.relay.mu.Lock()
	a := p.relay.accounts[p.name]
	a.manifests = append(a.manifests, signed)
	chain := a.chain
	p.relay.mu.Unlock()
	err = p.engine.do(context.Background(), func() error { return p.engine.learn(p.name, chain, [][]byte{signed}) })
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// An own device whose keys cannot be had delays no message to a peer, nor does
// a server that does not answer the question for them; a copy waits for it.
func TestOwnDeviceWithoutKeysDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		answer := make(chan struct{})
		r.mu.Lock()
		r.bundles = func(asker, user string) {
			if asker == "alice" && user == "alice" {
				<-answer
			}
		}
		r.mu.Unlock()
		alice.linkDevice()
		for _, text := range []string{"one", "two"} {
			start := time.Now()
			s := alice.send("bob", text, waitFor(waitDelivered))
			if d := time.Since(start); s.State != local.StateDelivered || d > time.Second {
				t.Errorf("%s is %s after %s", text, s.State, d)
			}
		}
		var waiting int
		err := alice.st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.OutgoingOf(alice.account, alice.engine.selfPeer, store.PhaseQueued)
			waiting = len(rows)
			return err
		})
		if err != nil || waiting != 2 {
			t.Errorf("%d copies wait, %v", waiting, err)
		}
		close(answer)
		settleDown(time.Minute)
		r.mu.Lock()
		r.bundles = nil
		r.mu.Unlock()
		s := alice.send("bob", "three", waitFor(waitDelivered))
		if s.State != local.StateDelivered {
			t.Errorf("three is %s", s.State)
		}
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "one", "two", "three"})
	})
}
