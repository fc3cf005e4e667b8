package identity

import (
	"bytes"
	"testing"
	"time"

	"secmsg/crypto/key"
)

// now is the time of the tests.
var now = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// devID is the device of prekeys and challenges.
var devID = key.DeviceID{1, 2, 3}

var (
	alice = Address{User: "alice", Domain: "chat.example.com"}
	bob   = Address{User: "bob", Domain: "chat.example.com"}
)

// realm is a root, an issuing CA below it, and alice's key.
type realm struct {
	root, issuing *Authority
	alice         key.SigningPrivate
}

func newRealm(t testing.TB) realm {
	t.Helper()
	root, err := NewRoot(alice.Domain, now)
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := root.NewIssuing(alice.Domain, now)
	if err != nil {
		t.Fatal(err)
	}
	return realm{root: root, issuing: issuing, alice: key.GenerateSigning()}
}

// chain certifies alice at a time.
func (r realm) chain(t testing.TB, at time.Time) [][]byte {
	t.Helper()
	csr, err := NewAccountCSR(r.alice, alice)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := r.issuing.IssueAccount(csr, alice, at)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{leaf, r.issuing.Cert.Raw}
}

func newDevice(name string) (Device, key.SigningPrivate) {
	priv, exchange := key.GenerateSigning(), key.GenerateExchange().Public()
	return Device{
		ID:       key.NewDeviceID(priv.Public(), exchange),
		Signing:  priv.Public(),
		Exchange: exchange,
		Name:     name,
		Added:    now,
	}, priv
}

// flips calls f with copies of b that each have one bit of one byte changed,
// every byte in turn.
func flips(b []byte, f func(i int, bad []byte)) {
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		f(i, bad)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
