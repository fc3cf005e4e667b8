package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
	"secmsg/serverd/ca"
)

// These tests run real processes against a server that lies, each in one way. The lie must
// be refused and visible to the user, and must leave the session intact, so that honest
// traffic continues afterwards.

// evilWorld is a realm behind an evilProxy with the accounts alice and bob.
type evilWorld struct {
	*world
	proxy  *evilProxy
	forger *ca.CA
}

func newEvilWorld(t *testing.T) *evilWorld {
	t.Helper()
	front, back := freeAddress(t), freeAddress(t)
	w := newWorld(t, front, back)
	proxy := startEvilProxy(t, w.server, front, back)
	forger, err := ca.Open(ca.Options{Dir: w.server, Domain: "localhost", Entry: []string{front}})
	if err != nil {
		t.Fatal(err)
	}
	w.join("alice")
	w.join("bob")
	return &evilWorld{world: w, proxy: proxy, forger: forger}
}

// forged is an identity that the realm's CA certifies for name, although it is not that
// of the real user.
type forged struct {
	chain    [][]byte
	identity key.SigningPrivate
	signing  key.SigningPrivate
	exchange key.ExchangePrivate
	manifest []byte
}

func (w *evilWorld) forge(name string) forged {
	w.t.Helper()
	f := forged{identity: key.GenerateSigning(), signing: key.GenerateSigning(), exchange: key.GenerateExchange()}
	addr := identity.Address{User: name, Domain: "localhost"}
	var err error
	if f.chain, err = w.forger.Reissue(f.identity.Public(), addr); err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	f.manifest, err = identity.Manifest{Address: addr, Version: 1, Time: now, Devices: []identity.Device{{
		ID: key.NewDeviceID(f.signing.Public(), f.exchange.Public()), Signing: f.signing.Public(), Exchange: f.exchange.Public(), Name: "ghost", Added: now,
	}}}.Sign(f.identity)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// lie makes the server answer look-ups and bundles of name through f.
func (w *evilWorld) lie(name string, account func(*wire.Account), bundles func(*wire.Bundles)) {
	w.proxy.hook(func(_, path string, status int, body []byte) []byte {
		if status != 200 {
			return body
		}
		switch path {
		case "/v1/accounts/" + name:
			return edit(w.t, body, account)
		case "/v1/accounts/" + name + "/bundles":
			return edit(w.t, body, bundles)
		}
		return body
	}, nil)
}

// edit changes a JSON body through its type.
func edit[T any](t *testing.T, body []byte, f func(*T)) []byte {
	var v T
	if f == nil {
		return body
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("answer %q: %v", body, err)
		return body
	}
	f(&v)
	out, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return out
}

func (w *evilWorld) honest() { w.proxy.hook(nil, nil) }

// identityEvents returns all identity events of a user so far.
func (w *evilWorld) identityEvents(user string) []local.Event {
	w.t.Helper()
	return w.events(user, local.TypeIdentity)
}

// The CA certifies another key for bob. The pinned key decides: the message is held, the
// exit code is 4, nothing is encrypted to the new key, and the user is informed.
func TestEvilIdentityKeySwap(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	w.must("alice", "", "contact", "add", "bob")
	pinned := w.number("alice", "bob")
	ghost := w.forge("bob")
	w.lie("bob", func(a *wire.Account) { a.Chain, a.Manifest = ghost.chain, ghost.manifest },
		func(b *wire.Bundles) { b.Chain, b.Manifest, b.Devices = ghost.chain, ghost.manifest, nil })
	r := w.run("alice", "secret plan", "send", "bob", "-o", "json")
	if r.code != 4 {
		t.Fatalf("send to a swapped key: exit %d, want 4\n%s%s", r.code, r.stdout, r.stderr)
	}
	if got := w.number("alice", "bob"); got != pinned {
		t.Error("the pin was replaced")
	}
	if !slices.ContainsFunc(w.identityEvents("alice"), func(e local.Event) bool {
		return e.Identity != nil && e.Identity.Change == local.ChangeKey
	}) {
		t.Error("the user was not told of the changed key")
	}
	if !strings.Contains(w.must("alice", "", "contact", "show", "bob", "-o", "json"), `"trust":"changed"`) {
		t.Error("trust is not changed")
	}
	// The server is honest again: the user keeps the old key, and the held message arrives.
	w.honest()
	w.must("alice", "", "trust", "bob", "--key", w.fingerprint("bob"))
	w.expectText("bob", "alice", "secret plan")
}

// A prekey that another device signed, or of the wrong kind, starts no session.
func TestEvilPrekeySwap(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	ghost := key.GenerateSigning()
	addr := identity.Address{User: "bob", Domain: "localhost"}
	forgedPrekey, err := identity.SignPrekey(ghost, key.DeviceID{1}, addr, identity.Prekey{Kind: identity.SignedExchange, ID: 1,
		Exchange: key.GenerateExchange().Public(), Expires: time.Now().Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := forgedPrekey.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w.lie("bob", nil, func(b *wire.Bundles) {
		for i := range b.Devices {
			b.Devices[i].SignedPrekey = encoded
		}
	})
	r := w.run("alice", "sealed only for bob", "send", "bob", "-o", "json")
	if r.code == 0 {
		t.Fatalf("a message was sealed with a forged prekey: %s", r.stdout)
	}
	w.honest()
	// Keys of a device that were invalid are soon requested again.
	w.eventually("a message reaches bob", func() bool {
		return w.run("alice", "again", "send", "bob", "--wait", "delivered", "--timeout", "60s").code == 0
	})
	w.expectText("bob", "alice", "again")
}

// A manifest that the pinned key did not sign adds no device.
func TestEvilGhostDevice(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	ghost := w.forge("bob")
	w.lie("bob", func(a *wire.Account) { a.Manifest = ghost.manifest }, func(b *wire.Bundles) {
		b.Manifest = ghost.manifest
	})
	w.must("alice", "to bob's devices only", "send", "bob", "--wait", "delivered", "--timeout", "60s")
	show := w.must("alice", "", "contact", "show", "bob", "-o", "json")
	if strings.Contains(show, key.NewDeviceID(ghost.signing.Public(), ghost.exchange.Public()).String()) {
		t.Error("the ghost device was taken")
	}
	if !slices.ContainsFunc(w.identityEvents("alice"), func(e local.Event) bool {
		return e.Identity != nil && e.Identity.Change == local.ChangeMismatch
	}) {
		t.Error("the user was not told of the forged manifest")
	}
	w.honest()
	w.must("alice", "hello", "send", "bob", "--wait", "delivered", "--timeout", "60s")
}

// A ghost device in the manifest of an account is reported to its owner.
func TestEvilGhostDeviceOfMine(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	ghost := w.forge("alice")
	w.lie("alice", func(a *wire.Account) { a.Manifest = ghost.manifest }, nil)
	w.must("alice", "", "daemon", "stop")
	w.must("alice", "", "status") // starts the daemon, which checks its own account at each connection
	w.eventually("alice is told of the ghost device", func() bool {
		return slices.ContainsFunc(w.identityEvents("alice"), func(e local.Event) bool {
			return e.Identity != nil && e.Peer == "alice@localhost"
		})
	})
	if out := w.must("alice", "", "device", "list", "-o", "json"); strings.Contains(out, key.NewDeviceID(ghost.signing.Public(), ghost.exchange.Public()).String()) {
		t.Error("the ghost device is listed")
	}
}

// Frames arrive twice, out of order, with flipped bits, late or from another sender: each
// text is shown once, in the order it was sent.
func TestEvilTraffic(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	w.must("alice", "before", "send", "bob", "--wait", "delivered", "--timeout", "60s")
	flipped := 0
	w.proxy.hook(nil, func(account string, envs []*wire.Envelope) []*wire.Envelope {
		if account != "bob" {
			return envs
		}
		var out []*wire.Envelope
		for _, e := range slices.Backward(envs) {
			bad := &wire.Envelope{MessageId: e.GetMessageId(), Class: e.GetClass(), Sender: e.GetSender(),
				SenderDevice: e.GetSenderDevice(), AcceptedMs: e.GetAcceptedMs(), ExpiresMs: e.GetExpiresMs(),
				Ciphertext: slices.Clone(e.GetCiphertext())}
			bad.Ciphertext[len(bad.Ciphertext)-1] ^= 1
			if flipped < 3 { // a corrupted copy before the good one
				flipped++
				fresh := identityOf(bad)
				out = append(out, fresh)
			}
			reflected := identityOf(e)
			reflected.Sender = "bob"
			out = append(out, e, e, reflected, e)
		}
		return out
	})
	var want []string
	for _, s := range []string{"one", "two", "three", "four", "five"} {
		want = append(want, s)
		w.must("alice", s, "send", "bob")
	}
	for _, s := range want {
		w.expectText("bob", "alice", s)
	}
	w.honest()
	w.must("bob", "answer", "send", "alice", "--wait", "delivered", "--timeout", "60s")
	w.must("alice", "after", "send", "bob", "--wait", "delivered", "--timeout", "60s")
	want = append(append([]string{"before"}, want...), "after")
	if got := w.textsFrom("bob", "alice"); !slices.Equal(got, want) {
		t.Errorf("bob's history of alice: %q, want %q", got, want)
	}
	if got := w.textsFrom("alice", "bob"); !slices.Equal(got, []string{"answer"}) {
		t.Errorf("alice's history of bob: %q", got)
	}
}

// identityOf is a copy of e under a message id that was never used.
func identityOf(e *wire.Envelope) *wire.Envelope {
	id := slices.Clone(e.GetMessageId())
	id[15] ^= 0xa5
	return &wire.Envelope{MessageId: id, Class: e.GetClass(), Sender: e.GetSender(), SenderDevice: e.GetSenderDevice(),
		AcceptedMs: e.GetAcceptedMs(), ExpiresMs: e.GetExpiresMs(), Ciphertext: e.GetCiphertext()}
}

// No text or private key of a user is in the server's files or log, or in any command line
// or environment of a secmsg process.
func TestServerHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	const canary = "canary-5f1d9a7c-plaintext"
	w.must("alice", canary+" online", "send", "bob", "--wait", "delivered", "--timeout", "60s")
	w.must("bob", "", "daemon", "stop")
	w.must("alice", canary+" offline", "send", "bob", "--wait", "server", "--timeout", "60s")
	w.checkProcesses(canary)
	w.checkMemory(w.serverPID(), canary)
	w.eachFile(w.server, func(path string, data []byte) {
		if strings.Contains(string(data), canary) {
			t.Errorf("%s holds a text", path)
		}
	})
	// On the clients' disks, message bodies are encrypted, too.
	for _, user := range []string{"alice", "bob"} {
		w.eachFile(w.home(user), func(path string, data []byte) {
			if strings.Contains(string(data), canary) {
				t.Errorf("%s holds a text in clear", path)
			}
		})
	}
	w.must("bob", "", "status")
	w.expectText("bob", "alice", canary+" offline")
}

// eachFile calls f for every regular file below dir.
func (w *world) eachFile(dir string, f func(path string, data []byte)) {
	w.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f(path, data)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
