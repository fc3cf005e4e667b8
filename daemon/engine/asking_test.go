package engine

import (
	"slices"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
	"secmsg/rpc/backoff"
)

// near reports whether a wait is one with that interval: within half of it.
func near(wait, interval time.Duration) bool {
	return wait >= interval/2 && wait <= interval*3/2
}

func TestAskingPausesAPeerAfterAFailure(t *testing.T) {
	cfg := Config{}.withDefaults()
	a := newAsking(cfg)
	now := time.Unix(1e9, 0)
	a.peer(1).busy = true
	if d := a.failed(a.peer(2), 0, now); !near(d, cfg.BackoffMin) {
		t.Errorf("the first pause is %v, want about %v", d, cfg.BackoffMin)
	}
	if d := a.failed(a.peer(2), 10*time.Minute, now); d != 10*time.Minute {
		t.Errorf("the server demands ten minutes, the pause is %v", d)
	}
	if d := a.failed(a.peer(2), time.Hour, now); d != backoff.MaxWish {
		t.Errorf("the server demands an hour, the pause is %v", d)
	}
	a.failed(a.peer(3), 0, now)
	a.peer(4)
	out, wait := a.except(now)
	slices.Sort(out)
	if !slices.Equal(out, []store.PeerID{1, 2, 3}) || !near(wait, cfg.BackoffMin) {
		t.Errorf("not to be tried: %v, the first after %v", out, wait)
	}
	a.connected()
	if out, wait := a.except(now); !slices.Equal(out, []store.PeerID{1}) || wait != 0 {
		t.Errorf("after a new connection: %v, %v; a running question goes on", out, wait)
	}
}

func TestAskingWaitsLongerForADeviceWithoutKeys(t *testing.T) {
	cfg := Config{}.withDefaults()
	a := newAsking(cfg)
	now := time.Unix(1e9, 0)
	p, device := a.peer(1), key.DeviceID{1}
	want := cfg.BackoffMin
	for range 20 {
		a.absent(p, device, false, now)
		got := p.noKeys[device].until.Sub(now)
		if got > cfg.NoKeysFor || !near(got, want) && want < cfg.NoKeysFor/2 {
			t.Fatalf("it is asked for after %v, want about %v", got, want)
		}
		want = min(2*want, cfg.NoKeysFor)
	}
	if !p.lacks(device, now) || p.lacks(device, now.Add(cfg.NoKeysFor)) || p.lacks(key.DeviceID{2}, now) {
		t.Error("a device lacks keys at the wrong time")
	}
	a.sweep(now)
	if len(a.peers) != 1 {
		t.Error("a peer is forgotten whose device lacks keys")
	}
	a.sweep(now.Add(2 * cfg.NoKeysFor))
	if len(a.peers) != 0 {
		t.Error("a peer is remembered for nothing")
	}
	a.absent(a.peer(1), device, true, now)
	a.peer(1).hurry()
	if a.peer(1).lacks(device, now) {
		t.Error("a device without keys is not asked for although the user is in a hurry")
	}
}

func TestResealsAreCountedByEnvelopeAndHour(t *testing.T) {
	r := newReseals()
	now := time.Unix(1e9, 0)
	k := flightKey{id: store.MessageID{1}}
	if ok, waiting, undo := r.admit(k, true, now); !ok || waiting {
		t.Error("the first request is refused, or waits for another")
	} else {
		undo()
	}
	if len(r.counts) != 0 {
		t.Error("a request that was undone is counted")
	}
	for range resealsPerHour {
		if ok, waiting, _ := r.admit(k, false, now); !ok || waiting {
			t.Error("a request within the bound is refused")
		}
	}
	if ok, _, _ := r.admit(k, false, now); ok {
		t.Error("a request beyond the bound is admitted")
	}
	if ok, waiting, _ := r.admit(k, true, now); !ok || !waiting {
		t.Error("an envelope that was sealed again and is on its way is sealed once more")
	}
	if ok, _, _ := r.admit(k, false, now.Add(time.Hour)); !ok {
		t.Error("the next hour admits nothing")
	}
	for n := len(r.counts); n < maxReseals; n++ {
		r.counts[flightKey{id: store.MessageID{2, byte(n), byte(n >> 8)}}] = 1
	}
	if ok, _, _ := r.admit(flightKey{id: store.MessageID{3}}, false, now.Add(time.Hour)); ok {
		t.Error("the counts are not bounded")
	}
}

func TestClaimsAreLookedUpLessAndLessOften(t *testing.T) {
	c := newClaims()
	now := time.Unix(1e9, 0)
	addr := identity.Address{User: "bob", Domain: "x.example"}
	if wait := c.add(1, addr, ratchet.ManifestRef{Version: 7}, now); wait != 0 {
		t.Errorf("the first look-up waits %v", wait)
	}
	c.add(1, addr, ratchet.ManifestRef{Version: 5}, now)
	if list, _ := c.begin(now); !slices.Equal(list, []store.PeerID{1}) || c.due[1].named.Version != 7 {
		t.Errorf("due: %v, version %d", list, c.due[1].named.Version)
	}
	if list, wait := c.begin(now); len(list) != 0 || wait != 0 {
		t.Errorf("while a look-up runs: %v, %v", list, wait)
	}
	tries := 0
	for {
		c.due[1].busy = false
		wait, again := c.failed(1, now)
		tries++
		if !again {
			break
		}
		if wait < claimWait/2 || wait > maxClaimWait { // half of each wait is random
			t.Fatalf("try %d waits %v", tries, wait)
		}
		if got := c.add(1, addr, ratchet.ManifestRef{Version: 8}, now); got != wait {
			t.Fatalf("a new claim shortens the pause of %v to %v", wait, got)
		}
		if list, got := c.begin(now); len(list) != 0 || got != wait {
			t.Fatalf("in its pause: %v, %v, want %v", list, got, wait)
		}
		now = now.Add(wait)
		if list, _ := c.begin(now); len(list) != 1 {
			t.Fatal("after its pause it is not due")
		}
	}
	if tries != maxClaimTries+1 || len(c.due) != 0 {
		t.Errorf("given up after %d tries, %d are left", tries, len(c.due))
	}
	c.settled[2] = ratchet.ManifestRef{Version: 3}
	if !c.isSettled(2, ratchet.ManifestRef{Version: 3}) || c.isSettled(2, ratchet.ManifestRef{Version: 4}) || c.isSettled(3, ratchet.ManifestRef{}) {
		t.Error("the wrong claims are settled")
	}
	c.forget()
	if c.isSettled(2, ratchet.ManifestRef{Version: 3}) {
		t.Error("a forgotten claim is settled")
	}
}

// TestAbsentDeviceIsAskedForNoMoreOftenThanTheRelayAllows says that the last wait for a
// device without keys is never shorter than the configured one, which is the relay's rate.
func TestAbsentDeviceIsAskedForNoMoreOftenThanTheRelayAllows(t *testing.T) {
	cfg := Config{}.withDefaults()
	a := newAsking(cfg)
	p, now := a.peer(1), time.Unix(1e9, 0)
	for range 64 {
		a.absent(p, key.DeviceID{1}, false, now)
	}
	for range 1000 {
		a.absent(p, key.DeviceID{1}, false, now)
		if wait := p.noKeys[key.DeviceID{1}].until.Sub(now); wait != cfg.NoKeysFor {
			t.Fatalf("waits %v, want %v", wait, cfg.NoKeysFor)
		}
	}
}
