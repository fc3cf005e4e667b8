package trust

import (
	"context"
	"slices"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func TestFirstContactPins(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	_, err := w.send(bob, false)
	wants(t, err, ErrUnknownPeer)
	out := w.meet(bob)
	if !slices.Equal(ids(out.Devices), ids(bob.devices)) || out.Version != 1 || len(out.Changes) != 0 {
		t.Errorf("admission %+v", out)
	}
	to, err := w.send(bob, false)
	check(t, err)
	if to.Address != bob.addr || to.Version != 1 || !slices.Equal(ids(to.Devices), ids(bob.devices)) {
		t.Errorf("target %+v", to)
	}
	c, err := w.contact(bob)
	check(t, err)
	if c.Trust != local.TrustCertified || c.Fingerprint != bob.id.Public().Fingerprint() || c.Contact {
		t.Errorf("contact %+v", c)
	}
}

func TestFirstContactRefuses(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	other := newWorld(t)
	carol := w.peer("carol")
	expired := *bob
	for name, x := range map[string]struct {
		chain     [][]byte
		manifests [][]byte
		at        time.Duration
		want      error
	}{
		"chain of another realm":      {other.peer("bob").chain, [][]byte{bob.manifest}, 0, ErrCertificate},
		"chain of another account":    {carol.chain, [][]byte{carol.manifest}, 0, ErrCertificate},
		"manifest of another key":     {bob.chain, [][]byte{other.peer("bob").manifest}, 0, ErrManifest},
		"manifest of another account": {bob.chain, [][]byte{carol.manifest}, 0, ErrManifest},
		"no manifest":                 {bob.chain, nil, 0, ErrManifest},
		"no chain":                    {nil, [][]byte{bob.manifest}, 0, ErrUnknownPeer},
		"expired":                     {expired.chain, [][]byte{expired.manifest}, 91 * day, ErrCertificate},
		"not yet valid":               {bob.chain, [][]byte{bob.manifest}, -2 * day, ErrCertificate},
		"garbage":                     {[][]byte{{1}, {2}}, [][]byte{{3}}, 0, ErrCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			begin := w.now
			w.now = begin.Add(x.at)
			defer func() { w.now = begin }()
			_, err := w.admit(bob.addr, x.chain, x.manifests...)
			wants(t, err, x.want)
			w.now = begin
			_, err = w.send(bob, false)
			wants(t, err, ErrUnknownPeer)
		})
	}
	_, err := w.admit(identity.Address{User: "bob", Domain: "other.example.com"}, bob.chain, bob.manifest)
	wants(t, err, ErrRealm)
}

// TestKeyChange is A10 in crypto/ATTACKS.md: the server certifies another key while
// messages wait.
func TestKeyChange(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	w.meet(bob)
	evil := w.peer("bob") // certified by the CA, with another key
	out, err := w.admit(evil.addr, evil.chain, evil.manifest)
	wants(t, err, ErrChanged)
	if !slices.Equal(changes(out.Changes), []string{local.ChangeKey}) ||
		out.Changes[0].Fingerprint != evil.id.Public().Fingerprint() || out.Changes[0].Previous != bob.id.Public().Fingerprint() {
		t.Errorf("changes %+v", out.Changes)
	}
	// Sending stops, whatever the server answers afterwards. One event is enough.
	for range 3 {
		_, err = w.send(bob, false)
		wants(t, err, ErrChanged)
		out, err = w.admit(evil.addr, evil.chain, evil.manifest)
		wants(t, err, ErrChanged)
		if len(out.Changes) != 0 {
			t.Errorf("told again: %+v", out.Changes)
		}
		_, err = w.admit(bob.addr, bob.chain, bob.manifest)
		wants(t, err, ErrChanged)
	}
	wants(t, w.initial(bob, bob.devices[0], bob.manifest), ErrChanged)
	c, err := w.contact(bob)
	check(t, err)
	if c.Trust != local.TrustChanged || c.Fingerprint != bob.id.Public().Fingerprint() || c.Changed != evil.id.Public().Fingerprint() {
		t.Errorf("contact %+v", c)
	}
	if !slices.Equal(deviceIDs(c.Devices), deviceIDsOf(bob.devices)) {
		t.Error("the changed key's devices are shown")
	}
}

func TestKeyChangeDecision(t *testing.T) {
	accept := func(w *world, p *peer, fp string) (c local.Contact, err error) {
		err = w.st.Update(context.Background(), func(tx *store.Tx) error {
			c, err = w.trust.Accept(tx, w.account, p.addr, fp)
			return err
		})
		return c, err
	}
	t.Run("new key", func(t *testing.T) {
		w := newWorld(t)
		bob := w.peer("bob")
		peer := w.meet(bob).Peer
		ref := store.DeviceRef{Account: w.account, Peer: peer, Device: bob.devices[0].ID}
		w.update(func(tx *store.Tx) error { return tx.SaveSession(ref, store.Session{Body: []byte("session")}) })
		next := w.peer("bob")
		_, err := w.admit(next.addr, next.chain, next.manifest)
		wants(t, err, ErrChanged)
		_, err = accept(w, bob, "0123")
		wantCode(t, err, local.CodeUntrusted)
		_, err = w.send(bob, false)
		wants(t, err, ErrChanged)
		c, err := accept(w, bob, next.id.Public().Fingerprint())
		check(t, err)
		if c.Trust != local.TrustCertified || c.Fingerprint != next.id.Public().Fingerprint() || c.Changed != "" || !c.Contact {
			t.Errorf("contact %+v", c)
		}
		to, err := w.send(bob, false)
		check(t, err)
		if !slices.Equal(ids(to.Devices), ids(next.devices)) {
			t.Error("sends to other devices than the accepted key's")
		}
		w.update(func(tx *store.Tx) error {
			if has, err := tx.HasSession(ref); has || err != nil {
				t.Errorf("a session with the former key is left: %v", err)
			}
			return nil
		})
		// Now the former key is the changed one.
		_, err = w.admit(bob.addr, bob.chain, bob.manifest)
		wants(t, err, ErrChanged)
	})
	t.Run("pinned key is kept", func(t *testing.T) {
		w := newWorld(t)
		bob := w.peer("bob")
		w.meet(bob)
		evil := w.peer("bob")
		_, err := w.admit(evil.addr, evil.chain, evil.manifest)
		wants(t, err, ErrChanged)
		_, err = accept(w, bob, bob.id.Public().Fingerprint())
		check(t, err)
		to, err := w.send(bob, false)
		check(t, err)
		if !slices.Equal(ids(to.Devices), ids(bob.devices)) {
			t.Error("sends to other devices")
		}
	})
	t.Run("verified is not inherited", func(t *testing.T) {
		w := newWorld(t)
		bob := w.peer("bob")
		w.meet(bob)
		w.verify(bob)
		next := w.peer("bob")
		_, err := w.admit(next.addr, next.chain, next.manifest)
		wants(t, err, ErrChanged)
		c, err := accept(w, bob, next.id.Public().Fingerprint())
		check(t, err)
		if c.Trust != local.TrustCertified {
			t.Errorf("trust %s", c.Trust)
		}
	})
}

// TestGhostDevice is A12 in crypto/ATTACKS.md: devices that the identity key did not sign
// are ignored and raise one event.
func TestGhostDevice(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	w.meet(bob)
	ghost := &peer{addr: bob.addr, id: key.GenerateSigning(), version: 1, manifest: bob.manifest}
	lie := ghost.list(w, append(slices.Clone(bob.devices), device("ghost"))...)
	for i := range 3 {
		out, err := w.admit(bob.addr, bob.chain, lie)
		check(t, err)
		if !slices.Equal(ids(out.Devices), ids(bob.devices)) {
			t.Fatal("the ghost is a device")
		}
		if want := []string{local.ChangeMismatch}; i == 0 && !slices.Equal(changes(out.Changes), want) || i > 0 && len(out.Changes) != 0 {
			t.Errorf("time %d: changes %v", i, changes(out.Changes))
		}
	}
	wants(t, w.initial(bob, bob.devices[0], lie), ErrManifest)
	to, err := w.send(bob, false)
	check(t, err)
	if !slices.Equal(ids(to.Devices), ids(bob.devices)) {
		t.Error("sends to the ghost")
	}
	// The same for the own account: the client raises an alarm.
	own := &peer{addr: w.self.addr, id: key.GenerateSigning(), version: 1, manifest: w.self.manifest}
	lie = own.list(w, append(slices.Clone(w.self.devices), device("ghost"))...)
	out, err := w.admit(w.self.addr, w.self.chain, lie)
	check(t, err)
	if !slices.Equal(changes(out.Changes), []string{local.ChangeMismatch}) {
		t.Errorf("changes %v", changes(out.Changes))
	}
	w.update(func(tx *store.Tx) error {
		others, _, err := w.trust.OwnDevices(tx, w.account)
		if len(others) != 0 {
			t.Error("the ghost is an own device")
		}
		return err
	})
	// The same for another certified key for the own name.
	twin := w.peer("alice")
	out, err = w.admit(w.self.addr, twin.chain, twin.manifest)
	wants(t, err, ErrChanged)
	if !slices.Equal(changes(out.Changes), []string{local.ChangeKey}) {
		t.Errorf("changes %v", changes(out.Changes))
	}
}

func TestManifests(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	laptop, phone, tablet := bob.devices[0], device("phone"), device("tablet")
	one := bob.manifest
	peer := w.meet(bob).Peer
	ref := store.DeviceRef{Account: w.account, Peer: peer, Device: laptop.ID}
	w.update(func(tx *store.Tx) error { return tx.SaveSession(ref, store.Session{Body: []byte("session")}) })

	two := bob.list(w, laptop, phone)
	out, err := w.admit(bob.addr, nil, two)
	check(t, err)
	if out.Version != 2 || !slices.Equal(changes(out.Changes), []string{local.ChangeDeviceAdded}) {
		t.Errorf("version %d, changes %v", out.Version, changes(out.Changes))
	}
	// A gap in the versions is allowed: version 4 without 3.
	bob.list(w, laptop, phone, tablet)
	four := bob.list(w, phone, tablet)
	out, err = w.admit(bob.addr, nil, four)
	check(t, err)
	if out.Version != 4 || !slices.Equal(changes(out.Changes), []string{local.ChangeDeviceAdded, local.ChangeDeviceRemoved}) {
		t.Errorf("version %d, changes %v", out.Version, changes(out.Changes))
	}
	w.update(func(tx *store.Tx) error {
		if _, err := tx.Removed(ref); err != nil {
			t.Errorf("the removal is not known: %v", err)
		}
		if has, err := tx.HasSession(ref); !has || err != nil {
			t.Errorf("what the removed device sent before cannot be opened: %v", err)
		}
		return nil
	})
	// An older manifest changes nothing and is no event.
	for _, old := range [][]byte{one, two} {
		out, err = w.admit(bob.addr, bob.chain, old)
		check(t, err)
		if out.Version != 4 || len(out.Changes) != 0 {
			t.Errorf("version %d after an older manifest, changes %v", out.Version, changes(out.Changes))
		}
	}
	// Forks: another version 2, another version 4, a version 5 on another 4.
	for name, fork := range map[string][]byte{
		"another second": bob.sign(w, 2, identity.ManifestHash(one), phone),
		"another newest": bob.sign(w, 4, identity.ManifestHash(two), laptop),
		"broken link":    bob.sign(w, 5, identity.ManifestHash(two), laptop),
	} {
		w.update(func(tx *store.Tx) error { return resetNotice(tx, w.account, peer, local.ChangeMismatch) }) // another day
		out, err = w.admit(bob.addr, bob.chain, fork)
		check(t, err)
		if out.Version != 4 || !slices.Equal(changes(out.Changes), []string{local.ChangeMismatch}) {
			t.Errorf("%s: version %d, changes %v", name, out.Version, changes(out.Changes))
		}
		wants(t, w.initial(bob, laptop, fork), ErrManifest)
	}
	five := bob.list(w, phone)
	out, err = w.admit(bob.addr, bob.chain, five)
	check(t, err)
	if out.Version != 5 {
		t.Errorf("version %d", out.Version)
	}
}

func TestAdmitInitial(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	laptop, phone := bob.devices[0], device("phone")
	one := bob.manifest
	two := bob.list(w, laptop, phone)
	// A stranger's first message pins its key without the network.
	check(t, w.initial(bob, laptop, one))
	// A newer manifest is saved.
	check(t, w.initial(bob, phone, two))
	to, err := w.send(bob, false)
	check(t, err)
	if to.Version != 2 {
		t.Errorf("version %d", to.Version)
	}
	if !slices.Contains(changes(w.noted), local.ChangeDeviceAdded) {
		t.Errorf("noted %v", changes(w.noted))
	}
	// An older manifest is accepted while the device is still listed.
	check(t, w.initial(bob, laptop, one))
	three := bob.list(w, phone)
	_, err = w.admit(bob.addr, nil, three)
	check(t, err)
	wants(t, w.initial(bob, laptop, one), ErrDevice)
	wants(t, w.initial(bob, laptop, two), ErrDevice)
	check(t, w.initial(bob, phone, two))
	// A device that no manifest lists.
	wants(t, w.initial(bob, device("ghost"), three), ErrDevice)
	// A device with another exchange key is another device.
	swapped := phone
	swapped.Exchange = key.GenerateExchange().Public()
	swapped.ID = key.NewDeviceID(swapped.Signing, swapped.Exchange)
	four := bob.list(w, swapped)
	_, err = w.admit(bob.addr, nil, four)
	check(t, err)
	wants(t, w.initial(bob, phone, three), ErrDevice)
	// Another account's chain.
	carol := w.peer("carol")
	stolen := &peer{addr: carol.addr, chain: bob.chain}
	wants(t, w.initial(stolen, phone, four), ErrCertificate)
	// A blocked peer.
	w.update(func(tx *store.Tx) error { _, err := w.trust.Block(tx, w.account, bob.addr); return err })
	wants(t, w.initial(bob, swapped, four), ErrBlocked)
}

func TestAdmitOwnInitial(t *testing.T) {
	w := newWorld(t)
	this, other := w.self.devices[0], device("phone")
	two := w.self.list(w, this, other)
	check(t, w.initial(w.self, other, two))
	wants(t, w.initial(w.self, this, two), ErrDevice)
	ghost := &peer{addr: w.self.addr, id: key.GenerateSigning(), chain: w.self.chain, version: 2, manifest: two}
	wants(t, w.initial(ghost, device("ghost"), ghost.list(w, this, device("ghost"))), ErrManifest)
	w.update(func(tx *store.Tx) error {
		others, version, err := w.trust.OwnDevices(tx, w.account)
		if !slices.Equal(ids(others), ids([]identity.Device{other})) || version != 2 {
			t.Errorf("own devices %v, version %d", others, version)
		}
		return err
	})
	_, err := w.admit(w.self.addr, nil, w.self.list(w, other))
	wants(t, err, ErrRevoked)
}

// TestCertificateLife moves the clock through the lifetime of a certificate.
func TestCertificateLife(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	w.meet(bob)
	begin := w.now
	w.now = begin.Add(89 * day)
	if out, err := w.admit(bob.addr, bob.chain, bob.manifest); err != nil || len(out.Changes) != 0 {
		t.Errorf("before the end: %v, %v", err, out.Changes)
	}
	w.now = begin.Add(91 * day)
	for i := range 2 {
		out, err := w.admit(bob.addr, bob.chain, bob.manifest)
		check(t, err)
		if want := 1 - i; len(out.Changes) != want || want == 1 && out.Changes[0].Change != local.ChangeCertificate {
			t.Errorf("after the end, time %d: %+v", i, out.Changes)
		}
	}
	_, err := w.send(bob, false)
	check(t, err)
	w.now = begin.Add(121 * day)
	_, err = w.admit(bob.addr, bob.chain, bob.manifest)
	wants(t, err, ErrCertificate)
	_, err = w.send(bob, false)
	wants(t, err, ErrUnknownPeer)
	wants(t, w.initial(bob, bob.devices[0], bob.manifest), ErrCertificate)
	// A new certificate for the same key: no event.
	bob.certify(w)
	out, err := w.admit(bob.addr, bob.chain, bob.manifest)
	check(t, err)
	if len(out.Changes) != 0 {
		t.Errorf("changes %+v", out.Changes)
	}
	_, err = w.send(bob, false)
	check(t, err)
	// An expired certificate for another key is not a change of key.
	old := *bob
	old.id = key.GenerateSigning()
	w.now = begin
	old.certify(w)
	w.now = begin.Add(121 * day)
	_, err = w.admit(bob.addr, old.chain, bob.manifest)
	wants(t, err, ErrCertificate)
	_, err = w.send(bob, false)
	check(t, err)
	// A clock that is ten years slow: the pinned key stays valid.
	w.now = begin.AddDate(-10, 0, 0)
	_, err = w.admit(bob.addr, bob.chain, bob.manifest)
	check(t, err)
	_, err = w.send(bob, false)
	check(t, err)
}

func TestOwnCertificateIsRenewed(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Add(60 * day)
	w.self.certify(w)
	_, err := w.admit(w.self.addr, w.self.chain)
	check(t, err)
	w.update(func(tx *store.Tx) error {
		a, err := tx.Account(w.account)
		if err == nil && !slices.Equal(a.Chain[0], w.self.chain[0]) {
			t.Error("the new certificate is not kept")
		}
		return err
	})
}

func deviceIDs(list []local.Device) (out []string) {
	for _, d := range list {
		out = append(out, d.ID)
	}
	slices.Sort(out)
	return out
}

func deviceIDsOf(list []identity.Device) (out []string) {
	for _, d := range list {
		out = append(out, d.ID.String())
	}
	slices.Sort(out)
	return out
}
