package trust

import (
	"testing"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// A server that alternates forgeries, or invents new ones, raises one event of each kind a
// day. The trust in the attacked peer is the same as after one forgery.
func TestAlternatingLiesAreToldOnce(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	id := w.meet(bob).Peer
	told := map[string]int{}
	take := func(chain [][]byte, manifests ...[]byte) {
		t.Helper()
		out, _ := w.admit(bob.addr, chain, manifests...)
		for _, c := range out.Changes {
			told[c.Change]++
		}
	}
	// Unsigned device lists: two alternating, then new ones.
	lie := func(i byte) []byte {
		b := append([]byte(nil), bob.manifest...)
		b[len(b)-1] ^= i
		return b
	}
	for i := range 100 {
		take(nil, lie(byte(1+i%2)))
		take(nil, lie(byte(3+i)))
	}
	if told[local.ChangeMismatch] != 1 {
		t.Errorf("%d events of lists that nobody signed", told[local.ChangeMismatch])
	}
	// The same against the own account.
	for i := range 50 {
		b := append([]byte(nil), w.self.manifest...)
		b[len(b)-1] ^= byte(1 + i)
		out, _ := w.admit(w.self.addr, nil, b)
		for _, c := range out.Changes {
			told["own "+c.Change]++
		}
	}
	if told["own "+local.ChangeMismatch] != 1 {
		t.Errorf("%d events of forgeries about the own account", told["own "+local.ChangeMismatch])
	}
	// An account that changes its devices all day.
	laptop := bob.devices[0]
	for i := range 60 {
		if i%2 == 0 {
			take(nil, bob.list(w, laptop, device("phone")))
		} else {
			take(nil, bob.list(w, laptop))
		}
	}
	if n := told[local.ChangeDeviceAdded] + told[local.ChangeDeviceRemoved]; n != devicesPerDay {
		t.Errorf("%d events about devices, want %d", n, devicesPerDay)
	}
	// Certified keys that are not the pinned one.
	ghosts := []*peer{w.peer("bob"), w.peer("bob")}
	for i := range 50 {
		g := ghosts[i%2]
		take(g.chain, g.manifest)
	}
	if told[local.ChangeKey] != 1 {
		t.Errorf("%d events of changed keys", told[local.ChangeKey])
	}
	w.update(func(tx *store.Tx) error {
		c, err := tx.Contact(w.account, id)
		if err != nil || TrustState(c) != local.TrustChanged {
			t.Errorf("trust %s, %v", TrustState(c), err)
		}
		return err
	})
	// After the user's decision the next change is reported, even on the same day.
	w.update(func(tx *store.Tx) error {
		_, err := w.trust.Accept(tx, w.account, bob.addr, bob.id.Public().Fingerprint())
		return err
	})
	take(ghosts[0].chain, ghosts[0].manifest)
	if told[local.ChangeKey] != 2 {
		t.Errorf("%d events of changed keys after a decision", told[local.ChangeKey])
	}
}
