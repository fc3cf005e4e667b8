package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func (r *relay) stock(p *person) (exchange, kem int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.accounts[p.name].devices[p.device]
	return len(d.exchange), len(d.kem)
}

func TestPrekeysAreRefilledAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice")
		defer stopAll(p...)
		if x, k := r.stock(p[0]); x != 100 || k != 100 {
			t.Fatalf("first upload: %d and %d", x, k)
		}
		r.mu.Lock()
		d := r.accounts["alice"].devices[p[0].device]
		d.exchange, d.kem = d.exchange[:24], d.kem[:25]
		signed := string(d.signed)
		r.mu.Unlock()
		settleDown(25 * time.Hour)
		if x, k := r.stock(p[0]); x != 100 || k != 25 {
			t.Errorf("after a day: %d and %d", x, k)
		}
		settleDown(7 * day)
		r.mu.Lock()
		if string(d.signed) == signed {
			t.Error("the signed prekey is not replaced after a week")
		}
		r.mu.Unlock()
	})
}

func TestCertificateIsRenewedAtTwoThirds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice")
		defer stopAll(p...)
		expires := func() time.Time {
			var at time.Time
			_ = p[0].st.View(t.Context(), func(tx *store.Tx) error {
				a, err := tx.Account(p[0].account)
				if err != nil {
					return err
				}
				cert, err := identity.VerifyAccount(r.root.Cert, a.Chain, p[0].addr, time.Now())
				at = cert.NotAfter
				return err
			})
			return at
		}
		first := expires()
		settleDown(58 * day)
		if !expires().Equal(first) {
			t.Error("renewed early")
		}
		settleDown(4 * day)
		if !expires().After(first) {
			t.Error("not renewed")
		}
	})
}

func TestGhostDeviceRaisesAnAlarmAndGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		// An evil server adds a device of its own to Alice's list.
		account, signing, exchange := key.GenerateSigning(), key.GenerateSigning(), key.GenerateExchange()
		ghost := identity.Device{ID: key.NewDeviceID(signing.Public(), exchange.Public()), Signing: signing.Public(), Exchange: exchange.Public(), Name: "ghost", Added: time.Now()}
		r.mu.Lock()
		previous := identity.ManifestHash(r.accounts["alice"].manifests[0])
		r.mu.Unlock()
		manifest, err := identity.Manifest{Address: alice.addr, Version: 2, Previous: previous, Time: time.Now(), Devices: []identity.Device{ghost}}.Sign(account)
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		a := r.accounts["alice"]
		a.manifests = append(a.manifests, manifest)
		a.devices[ghost.ID] = a.devices[alice.device]
		r.mu.Unlock()
		bob.send("alice", "only for alice", waitFor(waitDelivered))
		alice.link.disconnect()
		alice.link.connect()
		settleDown(time.Minute)
		alice.send("bob", "who is there?", waitFor(waitDelivered))
		if n := r.sentTo(ghost.ID); n != 0 {
			t.Errorf("the ghost got %d envelopes", n)
		}
		var alarms int
		for _, e := range alice.events(local.TypeIdentity) {
			if e.Identity.Change == local.ChangeMismatch && e.Peer == alice.addr.String() {
				alarms++
			}
		}
		if alarms != 1 {
			t.Errorf("%d alarms", alarms)
		}
	})
}
