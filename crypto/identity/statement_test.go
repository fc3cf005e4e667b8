package identity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func newStatement() RealmStatement {
	return RealmStatement{
		Domain:  alice.Domain,
		Entry:   []string{"chat.example.com:8443", "[2001:db8::1]:443"},
		TLSKeys: [][sha256.Size]byte{{1}, {2}},
		Epoch:   [EpochSize]byte{3},
		LogKey:  key.GenerateSigning().Public(),
		Issued:  now,
		Expires: now.Add(StatementLifetime),
	}
}

func TestStatement(t *testing.T) {
	r := newRealm(t)
	for _, s := range []RealmStatement{
		newStatement(),
		{Domain: alice.Domain, Entry: []string{"h"}, Issued: now, Expires: now.Add(time.Second)},
	} {
		signed, err := s.Sign(r.issuing)
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, signed, now)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("%+v, %v", got, err)
		}
		flips(signed, func(i int, bad []byte) {
			if _, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, bad, now); err == nil || IsValidity(err) {
				t.Errorf("byte %d changed: %v", i, err)
			}
		})
		for i := range signed {
			if _, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, signed[:i], now); err == nil {
				t.Errorf("cut to %d bytes: accepted", i)
			}
		}
		for _, tt := range []struct {
			at   time.Time
			want error
		}{
			{s.Issued.Add(-ClockSkew), nil}, {s.Issued.Add(-ClockSkew - time.Second), ErrNotYetValid},
			{s.Expires, nil}, {s.Expires.Add(time.Second), ErrExpired}, {now.AddDate(11, 0, 0), ErrExpired},
		} {
			got, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, signed, tt.at)
			if !errors.Is(err, tt.want) || got.Domain != s.Domain {
				t.Errorf("at %s: %v, want %v", tt.at, err, tt.want)
			}
		}
	}
	signed := must[[]byte](t)(newStatement().Sign(r.issuing))
	other := newRealm(t)
	if _, err := VerifyStatement(other.root.Cert, r.issuing.Cert.Raw, signed, now); !errors.Is(err, ErrChain) {
		t.Errorf("other root: %v", err)
	}
	if _, err := VerifyStatement(r.root.Cert, other.issuing.Cert.Raw, signed, now); !errors.Is(err, ErrChain) {
		t.Errorf("other issuing CA: %v", err)
	}
	second := must[*Authority](t)(r.root.NewIssuing(alice.Domain, now))
	if _, err := VerifyStatement(r.root.Cert, second.Cert.Raw, signed, now); !errors.Is(err, ErrSignature) {
		t.Errorf("another issuing CA of the realm: %v", err)
	}
	if _, err := VerifyStatement(nil, second.Cert.Raw, signed, now); !errors.Is(err, ErrChain) {
		t.Errorf("no root: %v", err)
	}
	if _, err := VerifyStatement(r.root.Cert, r.chain(t, now)[0], signed, now); !errors.Is(err, ErrChain) {
		t.Errorf("signed by an account: %v", err)
	}
	foreign := newStatement()
	foreign.Domain = "example.org"
	signed = must[[]byte](t)(foreign.Sign(r.issuing))
	if _, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, signed, now); !errors.Is(err, ErrName) {
		t.Errorf("another domain: %v", err)
	}
}

func TestStatementRefused(t *testing.T) {
	r := newRealm(t)
	for name, change := range map[string]func(s *RealmStatement){
		"no domain":      func(s *RealmStatement) { s.Domain = "" },
		"no entry":       func(s *RealmStatement) { s.Entry = nil },
		"bad entry":      func(s *RealmStatement) { s.Entry = []string{"https://x"} },
		"entry twice":    func(s *RealmStatement) { s.Entry = []string{"x", "x"} },
		"many entries":   func(s *RealmStatement) { s.Entry = make([]string, MaxEntries+1) },
		"key twice":      func(s *RealmStatement) { s.TLSKeys = [][32]byte{{1}, {1}} },
		"many keys":      func(s *RealmStatement) { s.TLSKeys = make([][32]byte, MaxTLSKeys+1) },
		"no life":        func(s *RealmStatement) { s.Expires = s.Issued },
		"long life":      func(s *RealmStatement) { s.Expires = s.Issued.Add(StatementLifetime + time.Second) },
		"life in future": func(s *RealmStatement) { s.Issued, s.Expires = s.Expires, s.Issued },
	} {
		s := newStatement()
		change(&s)
		if _, err := s.Sign(r.issuing); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: signed: %v", name, err)
		}
	}
	largest := newStatement()
	largest.Domain = strings.Repeat("a2345678.", 28) + "b"
	largest.Entry, largest.TLSKeys = nil, nil
	for i := range MaxEntries {
		largest.Entry = append(largest.Entry, string(rune('a'+i))+largest.Domain[1:]+":65535")
	}
	for i := range MaxTLSKeys {
		largest.TLSKeys = append(largest.TLSKeys, [32]byte{byte(i)})
	}
	if signed, err := largest.Sign(r.issuing); err != nil || len(signed) != MaxStatement {
		t.Errorf("the largest statement has %d bytes, MaxStatement is %d: %v", len(signed), MaxStatement, err)
	}
	if _, err := VerifyStatement(r.root.Cert, r.issuing.Cert.Raw, make([]byte, MaxStatement+1), now); !errors.Is(err, ErrFormat) {
		t.Errorf("too large: %v", err)
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, s := range []RealmStatement{newStatement(), {Domain: "d", Entry: []string{"h"}, Issued: now, Expires: now.Add(day)}} {
		f.Add(must[[]byte](f)(s.encode()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStatement(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		if again, err := s.encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is encoded again as %x: %v", b, again, err)
		}
	})
}
