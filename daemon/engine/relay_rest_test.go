package engine

import (
	"context"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Subscribe implements Link.
func (l *testLink) Subscribe(_ context.Context, accounts []string, _ bool) error {
	l.relay.mu.Lock()
	watching := l.relay.watching
	l.relay.mu.Unlock()
	if watching != nil {
		watching()
	}
	l.mu.Lock()
	l.watched = accounts
	l.mu.Unlock()
	l.tellPresence()
	return nil
}

// tellPresence sends the states of the watched accounts.
func (l *testLink) tellPresence() {
	up, calls := l.state()
	if !up {
		return
	}
	l.mu.Lock()
	watched, h := l.watched, l.handler
	l.mu.Unlock()
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	var states []*wire.PresenceState
	for _, name := range watched {
		s := &wire.PresenceState{Account: name}
		if a := l.relay.accounts[name]; a != nil {
			s.Mutual = a.relations[l.user] == wire.RelationContact && l.relay.accounts[l.user].relations[name] == wire.RelationContact
			s.Online = s.Mutual
		}
		states = append(states, s)
	}
	calls <- func() { h.Presence(context.Background(), states) }
}

func (l *testLink) check() error {
	if up, _ := l.state(); !up {
		return errDown
	}
	return nil
}

// Account implements Link.
func (l *testLink) Account(_ context.Context, name string) (wire.Account, error) {
	if err := l.check(); err != nil {
		return wire.Account{}, err
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	a := l.relay.accounts[name]
	if a == nil {
		return wire.Account{}, &wire.Error{Code: wire.CodeNotFound}
	}
	shown := len(a.manifests) - 1
	if a.frozen > 0 && name != l.user {
		shown = a.frozen - 1
	}
	return wire.Account{Chain: a.chain, Manifest: a.manifests[shown]}, nil
}

// PutManifest implements Link.
func (l *testLink) PutManifest(_ context.Context, previous [32]byte, manifest []byte) error {
	if err := l.check(); err != nil {
		return err
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	a := l.relay.accounts[l.user]
	if identity.ManifestHash(a.manifests[len(a.manifests)-1]) != previous {
		return &wire.Error{Code: wire.CodeConflict}
	}
	a.manifests = append(a.manifests, manifest)
	return nil
}

// Bundles implements Link.
func (l *testLink) Bundles(_ context.Context, name string, devices []key.DeviceID) (wire.Bundles, error) {
	if err := l.check(); err != nil {
		return wire.Bundles{}, err
	}
	l.relay.mu.Lock()
	wait := l.relay.bundles
	l.relay.mu.Unlock()
	if wait != nil {
		wait(l.user, name)
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	a := l.relay.accounts[name]
	if a == nil {
		return wire.Bundles{}, &wire.Error{Code: wire.CodeNotFound}
	}
	out := wire.Bundles{Chain: a.chain, Manifest: a.manifests[len(a.manifests)-1]}
	for id, d := range a.devices {
		if len(devices) > 0 && !slices.Contains(devices, id) || d.signed == nil {
			continue
		}
		b := wire.DeviceBundle{Device: id.String(), SignedPrekey: d.signed, KEMPrekey: d.last}
		if len(d.kem) > 0 {
			b.KEMPrekey, d.kem = d.kem[0], d.kem[1:]
		}
		if len(d.exchange) > 0 {
			b.OneTimeExchange, d.exchange = d.exchange[0], d.exchange[1:]
		}
		out.Devices = append(out.Devices, b)
	}
	return out, nil
}

// PrekeyCount implements Link.
func (l *testLink) PrekeyCount(context.Context) (wire.PrekeyCount, error) {
	if err := l.check(); err != nil {
		return wire.PrekeyCount{}, err
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	d := l.relay.accounts[l.user].devices[l.device]
	if d == nil {
		return wire.PrekeyCount{}, nil
	}
	c := wire.PrekeyCount{OneTimeExchange: len(d.exchange), OneTimeKEM: len(d.kem)}
	if p, err := identity.ParsePrekey(d.signed); err == nil {
		c.SignedExpiresMS = p.Expires.UnixMilli()
	}
	if p, err := identity.ParsePrekey(d.last); err == nil {
		c.LastResortExpiresMS = p.Expires.UnixMilli()
	}
	return c, nil
}

// PutPrekeys implements Link.
func (l *testLink) PutPrekeys(_ context.Context, p *wire.PutPrekeys) (wire.PrekeyCount, error) {
	if err := l.check(); err != nil {
		return wire.PrekeyCount{}, err
	}
	for _, signed := range append([][]byte{p.SignedPrekey, p.LastResortKEM}, slices.Concat(p.OneTimeExchange, p.OneTimeKEM)...) {
		if signed == nil {
			continue
		}
		k, err := identity.ParsePrekey(signed)
		if now := time.Now(); err != nil || now.After(k.Expires) || k.Expires.After(now.Add(identity.PrekeyLifetime+identity.PrekeySkew)) {
			return wire.PrekeyCount{}, &wire.Error{Code: wire.CodeMalformed, Message: "a prekey that is not of now"}
		}
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	a := l.relay.accounts[l.user]
	d := a.devices[l.device]
	if d == nil {
		d = new(relayDevice)
		a.devices[l.device] = d
	}
	if p.SignedPrekey != nil {
		d.signed = p.SignedPrekey
	}
	if p.LastResortKEM != nil {
		d.last = p.LastResortKEM
	}
	d.exchange = append(d.exchange, p.OneTimeExchange...)
	d.kem = append(d.kem, p.OneTimeKEM...)
	return wire.PrekeyCount{}, nil
}

// PutContact implements Link.
func (l *testLink) PutContact(_ context.Context, name string, rel wire.Relation) error {
	if err := l.check(); err != nil {
		return err
	}
	l.relay.mu.Lock()
	if l.relay.accounts[name] == nil {
		l.relay.mu.Unlock()
		return &wire.Error{Code: wire.CodeNotFound}
	}
	l.relay.accounts[l.user].relations[name] = rel
	links := make([]*testLink, 0, len(l.relay.links))
	for _, x := range l.relay.links {
		links = append(links, x)
	}
	l.relay.mu.Unlock()
	for _, x := range links {
		x.tellPresence()
	}
	return nil
}

// DeleteContact implements Link.
func (l *testLink) DeleteContact(_ context.Context, name string) error {
	if err := l.check(); err != nil {
		return err
	}
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	delete(l.relay.accounts[l.user].relations, name)
	return nil
}

// RenewCertificate implements Link.
func (l *testLink) RenewCertificate(context.Context) (wire.Certificate, error) {
	l.relay.mu.Lock()
	defer l.relay.mu.Unlock()
	a := l.relay.accounts[l.user]
	addr := identity.Address{User: l.user, Domain: "x.example"}
	cert, err := identity.VerifyAccount(l.relay.root.Cert, a.chain, addr, time.Now())
	if err != nil {
		return wire.Certificate{}, err
	}
	leaf, err := l.relay.issuing.CertifyAccount(cert.Key, addr, time.Now())
	if err != nil {
		return wire.Certificate{}, err
	}
	a.chain = [][]byte{leaf, l.relay.issuing.Cert.Raw}
	return wire.Certificate{Chain: a.chain}, nil
}
