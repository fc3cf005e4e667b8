package trust

import (
	"context"
	"slices"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func (w *world) verify(p *peer) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		_, mismatch, err := w.trust.Verify(tx, w.account, p.addr, "", true)
		if mismatch {
			w.t.Error("mismatch")
		}
		return err
	})
}

// try runs an operation in its own transaction.
func (w *world) try(fn func(tx *store.Tx) (local.Contact, error)) (c local.Contact, err error) {
	err = w.st.Update(context.Background(), func(tx *store.Tx) (e error) {
		c, e = fn(tx)
		return e
	})
	return c, err
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	w.meet(bob)
	number, err := identity.NewSafetyNumber(w.self.addr, w.self.id.Public(), bob.addr, bob.id.Public())
	check(t, err)
	verify := func(expect string, confirm bool) (v local.Verification, mismatch bool, err error) {
		err = w.st.Update(context.Background(), func(tx *store.Tx) (e error) {
			v, mismatch, e = w.trust.Verify(tx, w.account, bob.addr, expect, confirm)
			return e
		})
		return v, mismatch, err
	}
	v, _, err := verify("", false)
	check(t, err)
	if v.SafetyNumber != number.String() || v.Trust != local.TrustCertified || v.Fingerprint != bob.id.Public().Fingerprint() {
		t.Errorf("verification %+v", v)
	}
	// A different number changes nothing but is reported.
	wrong := []byte(number.String())
	wrong[7] = '0' + (wrong[7]-'0'+1)%10
	v, mismatch, err := verify(string(wrong), true)
	check(t, err)
	if !mismatch || v.Trust != local.TrustCertified || !slices.Equal(changes(w.noted), []string{local.ChangeMismatch}) {
		t.Errorf("mismatch %t, trust %s, noted %v", mismatch, v.Trust, changes(w.noted))
	}
	if c, _ := w.contact(bob); c.Trust != local.TrustCertified || c.Contact {
		t.Errorf("contact %+v", c)
	}
	_, _, err = verify("12345", false)
	wantCode(t, err, local.CodeUsage)
	v, mismatch, err = verify(number.String()[:5]+" "+number.String()[5:30]+"\n"+number.String()[30:], false)
	check(t, err)
	if mismatch || v.Trust != local.TrustVerified {
		t.Errorf("mismatch %t, trust %s", mismatch, v.Trust)
	}
	if c, _ := w.contact(bob); c.Trust != local.TrustVerified || !c.Contact {
		t.Errorf("contact %+v", c)
	}
	err = w.st.View(t.Context(), func(tx *store.Tx) error {
		_, _, err := w.trust.Verify(tx, w.account, w.peer("carol").addr, "", false)
		return err
	})
	wants(t, err, ErrUnknownPeer)
}

func TestPolicyToSend(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	_, err := w.send(bob, true)
	wants(t, err, ErrUnverified)
	w.meet(bob)
	_, err = w.send(bob, true)
	wants(t, err, ErrUnverified)
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) {
		return w.trust.Set(tx, w.account, bob.addr, PolicyTrust, "verified")
	})
	check(t, err)
	_, err = w.send(bob, false)
	wants(t, err, ErrUnverified)
	w.verify(bob)
	_, err = w.send(bob, true)
	check(t, err)
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Block(tx, w.account, bob.addr) })
	check(t, err)
	_, err = w.send(bob, false)
	wants(t, err, ErrBlocked)
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	w.meet(bob)
	set := func(key, value string) error {
		_, err := w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Set(tx, w.account, bob.addr, key, value) })
		return err
	}
	for _, good := range [][2]string{{"trust", "certified"}, {"auto-accept", "10MiB"}, {"auto-accept", "0"}, {"auto-answer", "no"},
		{"receipts", "off"}, {"retention", "30d"}, {"retention", "36h"}, {"receipts", ""}} {
		check(t, set(good[0], good[1]))
	}
	for _, bad := range [][2]string{{"trust", "all"}, {"trust", "TRUE"}, {"auto-accept", "ten"}, {"auto-accept", "-1"}, {"auto-accept", "99999999999GiB"},
		{"auto-answer", "maybe"}, {"receipts", "1"}, {"retention", "1s"}, {"retention", "-5d"}, {"colour", "red"}, {"", ""}} {
		wantCode(t, set(bad[0], bad[1]), local.CodeUsage)
	}
	c, err := w.contact(bob)
	check(t, err)
	want := map[string]string{"trust": "certified", "auto-accept": "0", "auto-answer": "no", "retention": "36h"}
	if len(c.Policy) != len(want) {
		t.Errorf("policy %v", c.Policy)
	}
	for k, v := range want {
		if c.Policy[k] != v {
			t.Errorf("policy %v", c.Policy)
		}
	}
}

func TestRelationsArePending(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	pending := func() (out []store.Contact) {
		w.update(func(tx *store.Tx) (err error) { out, err = tx.PendingRelations(w.account); return err })
		return out
	}
	w.meet(bob)
	if len(pending()) != 0 {
		t.Error("a look-up is no relation")
	}
	_, err := w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Add(tx, w.account, bob.addr) })
	check(t, err)
	p := pending()
	if len(p) != 1 || p[0].Relation != store.RelationContact {
		t.Fatalf("pending %+v", p)
	}
	// The server's answer arrives after another change, which stays pending.
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Block(tx, w.account, bob.addr) })
	check(t, err)
	w.update(func(tx *store.Tx) error { return tx.RelationSynced(w.account, p[0].Peer, p[0].Change) })
	p = pending()
	if len(p) != 1 || p[0].Relation != store.RelationBlocked {
		t.Fatalf("pending %+v", p)
	}
	w.update(func(tx *store.Tx) error { return tx.RelationSynced(w.account, p[0].Peer, p[0].Change) })
	if len(pending()) != 0 {
		t.Error("still pending")
	}
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Add(tx, w.account, bob.addr) })
	wantCode(t, err, local.CodeRefused)
	w.update(func(tx *store.Tx) error {
		_, err := w.trust.MakeContact(tx, w.account, p[0].Peer)
		return err
	})
	if c, _ := w.contact(bob); c.Trust != local.TrustBlocked || c.Contact {
		t.Error("sending unblocked a peer")
	}
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Unblock(tx, w.account, bob.addr) })
	check(t, err)
	if p = pending(); len(p) != 1 || p[0].Relation != store.RelationContact {
		t.Fatalf("pending %+v", p) // it was one before
	}
	carol := w.peer("carol")
	for _, change := range []func(*store.Tx, store.AccountID, identity.Address) (local.Contact, error){w.trust.Block, w.trust.Block, w.trust.Unblock} {
		_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return change(tx, w.account, carol.addr) })
		check(t, err)
	}
	if c, _ := w.contact(carol); c.Contact {
		t.Error("unblocking made a contact of a stranger")
	}
}

func TestNicksAndNames(t *testing.T) {
	w := newWorld(t)
	bob, carol := w.peer("bob"), w.peer("carol")
	w.meet(bob)
	w.meet(carol)
	nick := func(p *peer, name string) error {
		_, err := w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Nick(tx, w.account, p.addr, name) })
		return err
	}
	resolve := func(name string) (addr identity.Address, err error) {
		err = w.st.View(context.Background(), func(tx *store.Tx) (e error) {
			addr, e = w.trust.Resolve(tx, w.account, name)
			return e
		})
		return addr, err
	}
	check(t, nick(bob, "Bobby Tables"))
	wantCode(t, nick(carol, "Bobby Tables"), local.CodeUsage)
	wantCode(t, nick(carol, "bob"), local.CodeUsage)
	for _, bad := range []string{"a@b", "a,b", "a\x1b[31m", " a", "a\u202eb", string(make([]byte, 65))} {
		wantCode(t, nick(carol, bad), local.CodeUsage)
	}
	check(t, nick(carol, "--force"))
	for name, want := range map[string]identity.Address{
		"Bobby Tables": bob.addr, "--force": carol.addr, "bob": bob.addr, "bob@" + testDomain: bob.addr,
		"dave": {User: "dave", Domain: testDomain},
	} {
		got, err := resolve(name)
		check(t, err)
		if got != want {
			t.Errorf("%q is %s", name, got)
		}
	}
	_, err := resolve("bob@other.example.com")
	wantCode(t, err, local.CodeNotFound)
	for _, bad := range []string{"", "Bob", "bob@", "@" + testDomain, "bob@CHAT.example.com", "no such nick"} {
		_, err := resolve(bad)
		wantCode(t, err, local.CodeUsage)
	}
	check(t, nick(bob, ""))
	_, err = resolve("Bobby Tables")
	wantCode(t, err, local.CodeUsage)
	if err := nick(w.peer("eve"), "x"); err == nil {
		t.Error("a nickname for nobody")
	}
}

func TestContactRequest(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	check(t, w.initial(bob, bob.devices[0], bob.manifest))
	var id store.PeerID
	w.update(func(tx *store.Tx) (err error) {
		if id, err = tx.Peer(w.account, bob.addr.String()); err != nil {
			return err
		}
		return w.trust.SetRequest(tx, w.account, id)
	})
	list := func() (out local.Contacts) {
		check(t, w.st.View(t.Context(), func(tx *store.Tx) (err error) { out, err = w.trust.Contacts(tx, w.account); return err }))
		return out
	}
	if l := list().Contacts; len(l) != 1 || !l[0].Request || l[0].Contact {
		t.Fatalf("contacts %+v", l)
	}
	w.update(func(tx *store.Tx) error {
		if yes, err := w.trust.DeliveredReceipts(tx, w.account, id); yes || err != nil {
			t.Errorf("a stranger gets receipts: %v", err)
		}
		return nil
	})
	_, err := w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Add(tx, w.account, bob.addr) })
	check(t, err)
	if l := list().Contacts; len(l) != 1 || l[0].Request || !l[0].Contact {
		t.Fatalf("contacts %+v", l)
	}
	_, err = w.try(func(tx *store.Tx) (local.Contact, error) { return w.trust.Add(tx, w.account, w.self.addr) })
	wantCode(t, err, local.CodeUsage)
	check(t, w.st.Update(t.Context(), func(tx *store.Tx) error { return w.trust.Remove(tx, w.account, bob.addr) }))
	if l := list().Contacts; len(l) != 0 {
		t.Errorf("contacts %+v", l)
	}
	// The pin stays.
	evil := w.peer("bob")
	_, err = w.admit(evil.addr, evil.chain, evil.manifest)
	wants(t, err, ErrChanged)
}

func TestCheckReceive(t *testing.T) {
	w := newWorld(t)
	bob := w.peer("bob")
	laptop, phone := bob.devices[0], device("phone")
	receiveOf := func(d identity.Device, accepted int64) (err error) {
		w.update(func(tx *store.Tx) error {
			id, e := tx.Peer(w.account, bob.addr.String())
			err = w.trust.CheckReceive(tx, w.account, id, bob.addr, d.ID, accepted)
			return e
		})
		return err
	}
	receive := func(d identity.Device) error { return receiveOf(d, 0) }
	check(t, receive(laptop)) // only a first message can arrive
	peer := w.meet(bob).Peer
	check(t, receive(laptop))
	check(t, receive(phone)) // as above: it may carry the manifest that lists it
	ref := store.DeviceRef{Account: w.account, Peer: peer, Device: laptop.ID}
	w.update(func(tx *store.Tx) error { return tx.SaveSession(ref, store.Session{Body: []byte("session")}) })
	before := w.st.ProfileTime()
	_, err := w.admit(bob.addr, nil, bob.list(w, phone))
	check(t, err)
	// From now on the laptop's sessions only receive mail accepted before the removal.
	after := w.st.ProfileTime().Add(time.Second)
	check(t, receiveOf(laptop, before.UnixMilli()))
	wants(t, receiveOf(laptop, after.UnixMilli()), ErrDevice)
	wants(t, receive(laptop), ErrDevice) // unknown, or not kept
	check(t, receive(phone))
	// And only for a limited time, whatever the server says.
	w.update(func(tx *store.Tx) error {
		long := before.Add(-RemovedKeep - time.Minute)
		if err := tx.DeviceListed(ref); err != nil {
			return err
		}
		return tx.DeviceRemoved(ref, long.UnixMilli())
	})
	wants(t, receiveOf(laptop, before.Add(-RemovedKeep-time.Hour).UnixMilli()), ErrDevice)
	w.update(func(tx *store.Tx) error {
		if err := tx.ForgetRemoved(w.account, before.Add(-RemovedKeep).UnixMilli()); err != nil {
			return err
		}
		has, err := tx.HasSession(ref)
		if has {
			t.Error("the session with a device that was removed long ago is left")
		}
		return err
	})
	// A device that is listed again is a normal device.
	w.update(func(tx *store.Tx) error { return tx.SaveSession(ref, store.Session{Body: []byte("session")}) })
	_, err = w.admit(bob.addr, nil, bob.list(w, phone, laptop))
	check(t, err)
	check(t, receive(laptop))
	evil := w.peer("bob")
	_, err = w.admit(evil.addr, evil.chain, evil.manifest)
	wants(t, err, ErrChanged)
	wants(t, receive(phone), ErrChanged)
}
