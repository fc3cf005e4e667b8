package identity

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func newPrekey(t testing.TB, kind PrekeyKind) (Prekey, key.SigningPrivate) {
	t.Helper()
	dev := key.GenerateSigning()
	p := Prekey{Kind: kind, ID: 7, Expires: now.Add(PrekeyLifetime)}
	if kind.IsKEM() {
		p.KEM = key.GenerateKEM().Public()
	} else {
		p.Exchange = key.GenerateExchange().Public()
	}
	return must[Prekey](t)(SignPrekey(dev, devID, alice, p)), dev
}

var kinds = []PrekeyKind{SignedExchange, LastResortKEM, OneTimeExchange, OneTimeKEM}

func TestPrekey(t *testing.T) {
	for _, kind := range kinds {
		p, dev := newPrekey(t, kind)
		data, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want := ExchangePrekeySize
		if kind.IsKEM() {
			want = KEMPrekeySize
		}
		if len(data) != want {
			t.Errorf("%s: %d bytes, want %d", kind, len(data), want)
		}
		got, err := ParsePrekey(data)
		if err != nil || got.Kind != kind || got.ID != 7 || !got.Expires.Equal(p.Expires) || !bytes.Equal(got.KeyBytes(), p.KeyBytes()) {
			t.Fatalf("%s: %+v, %v", kind, got, err)
		}
		if err := got.Verify(dev.Public(), devID, alice, now); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := got.Verify(dev.Public(), devID, alice, p.Expires); err != nil {
			t.Errorf("%s in its last second: %v", kind, err)
		}
		if err := got.Verify(dev.Public(), devID, alice, p.Expires.Add(time.Second)); !errors.Is(err, ErrExpired) {
			t.Errorf("%s expired: %v", kind, err)
		}
		flips(data[:min(len(data), 200)], func(i int, bad []byte) {
			bad = append(bad, data[len(bad):]...)
			if q, err := ParsePrekey(bad); err == nil && q.Verify(dev.Public(), devID, alice, now) == nil {
				t.Errorf("%s: byte %d changed: accepted", kind, i)
			}
		})
		for i := range data {
			if _, err := ParsePrekey(data[:i]); err == nil {
				t.Errorf("%s cut to %d bytes: parsed", kind, i)
			}
		}
		if _, err := ParsePrekey(append(data, 0)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s with a trailing byte: %v", kind, err)
		}
	}
}

// A3: a prekey is valid for one kind, id, expiry, device and account only. A hostile server can change
// the fields, but not the signature.
func TestPrekeyContext(t *testing.T) {
	for _, kind := range kinds {
		p, dev := newPrekey(t, kind)
		for _, other := range kinds {
			q := p
			q.Kind = other
			if other != kind && q.Verify(dev.Public(), devID, alice, now) == nil {
				t.Errorf("%s passes as %s", kind, other)
			}
		}
		for name, change := range map[string]func(q *Prekey){
			"other id":     func(q *Prekey) { q.ID++ },
			"later expiry": func(q *Prekey) { q.Expires = q.Expires.Add(day) },
			"other key": func(q *Prekey) {
				r, _ := newPrekey(t, kind)
				q.Exchange, q.KEM = r.Exchange, r.KEM
			},
			"no signature": func(q *Prekey) { q.Signature = nil },
		} {
			q := p
			change(&q)
			if err := q.Verify(dev.Public(), devID, alice, now); !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
		if err := p.Verify(key.GenerateSigning().Public(), devID, alice, now); !errors.Is(err, ErrSignature) {
			t.Errorf("%s of another device: %v", kind, err)
		}
		if err := p.Verify(dev.Public(), devID, bob, now); !errors.Is(err, ErrSignature) {
			t.Errorf("%s of another account: %v", kind, err)
		}
		if err := p.Verify(dev.Public(), devID, Address{alice.User, "example.org"}, now); !errors.Is(err, ErrSignature) {
			t.Errorf("%s of another realm: %v", kind, err)
		}
	}
}

func TestPrekeyRefused(t *testing.T) {
	dev := key.GenerateSigning()
	exchange, kem := key.GenerateExchange().Public(), key.GenerateKEM().Public()
	for name, p := range map[string]Prekey{
		"no kind":      {ID: 1, Exchange: exchange, Expires: now},
		"unknown kind": {Kind: 5, ID: 1, Exchange: exchange, Expires: now},
		"no id":        {Kind: SignedExchange, Exchange: exchange, Expires: now},
		"no key":       {Kind: SignedExchange, ID: 1, Expires: now},
		"wrong key":    {Kind: SignedExchange, ID: 1, KEM: kem, Expires: now},
		"wrong key 2":  {Kind: OneTimeKEM, ID: 1, Exchange: exchange, Expires: now},
		"two keys":     {Kind: OneTimeKEM, ID: 1, Exchange: exchange, KEM: kem, Expires: now},
		"no expiry":    {Kind: SignedExchange, ID: 1, Exchange: exchange},
	} {
		if _, err := SignPrekey(dev, devID, alice, p); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: signed: %v", name, err)
		}
		if _, err := p.Marshal(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: marshalled: %v", name, err)
		}
	}
	good := Prekey{Kind: SignedExchange, ID: 1, Exchange: exchange, Expires: now}
	if _, err := SignPrekey(key.SigningPrivate{}, devID, alice, good); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no device key: %v", err)
	}
	if _, err := SignPrekey(dev, devID, Address{}, good); !errors.Is(err, ErrFormat) {
		t.Errorf("no account: %v", err)
	}
	p := must[Prekey](t)(SignPrekey(dev, devID, alice, good))
	data := must[[]byte](t)(p.Marshal())
	low := bytes.Clone(data)
	clear(low[prekeyHead : prekeyHead+32])
	if _, err := ParsePrekey(low); !errors.Is(err, key.ErrLowOrder) {
		t.Errorf("zero point: %v", err)
	}
	for _, kind := range kinds {
		if strings.HasPrefix(kind.String(), "kind") || !kind.Valid() {
			t.Errorf("%s has no name", kind)
		}
	}
	if !OneTimeKEM.OneTime() || LastResortKEM.OneTime() || PrekeyKind(0).Valid() || PrekeyKind(9).String() != "kind 9" {
		t.Error("kinds")
	}
}

func FuzzParsePrekey(f *testing.F) {
	var dev key.SigningPrivate
	for _, kind := range kinds {
		var p Prekey
		p, dev = newPrekey(f, kind)
		f.Add(must[[]byte](f)(p.Marshal()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePrekey(b)
		if err != nil {
			return
		}
		if again, err := p.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is encoded again as %x: %v", b, again, err)
		}
		_ = p.Verify(dev.Public(), devID, alice, now)
	})
}
