package key_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"secmsg/crypto/key"
)

var errorsOfParse = []error{key.ErrLength, key.ErrEncoding, key.ErrLowOrder}

func TestSigning(t *testing.T) {
	priv := key.GenerateSigning()
	again, err := key.ParseSigningSeed(priv.Seed())
	if err != nil || again.Public() != priv.Public() {
		t.Fatalf("the key of its own seed differs: %v", err)
	}
	pub, err := key.ParseSigningPublic(priv.Public().Bytes())
	if err != nil || !pub.Equal(priv.Public()) {
		t.Fatalf("the parsed public key differs: %v", err)
	}
	sig := priv.Sign([]byte("message"))
	if !pub.Verify([]byte("message"), sig) || pub.Verify([]byte("other"), sig) || pub.Verify([]byte("message"), sig[1:]) {
		t.Error("verification")
	}
	if key.GenerateSigning().Public() == pub {
		t.Error("two keys are the same")
	}
	if got := pub.Fingerprint(); len(got) != 64 || strings.ToLower(got) != got {
		t.Errorf("fingerprint %q", got)
	}

	signer := priv.Signer()
	sig, err = signer.Sign(nil, []byte("message"), crypto.Hash(0))
	if err != nil || !pub.Verify([]byte("message"), sig) || !pub.Std().Equal(signer.Public()) {
		t.Errorf("signer: %v", err)
	}
	if _, err := signer.Sign(nil, make([]byte, 64), crypto.SHA512); err == nil {
		t.Error("signed a hash")
	}
	if _, err := signer.Sign(nil, []byte("m"), &ed25519.Options{Context: "c"}); err == nil {
		t.Error("signed with a context")
	}

	copied := priv
	priv.Wipe()
	priv.Wipe()
	if copied.Sign([]byte("message")) != nil || copied.Seed() != nil || !copied.IsZero() {
		t.Error("a copy has a secret after Wipe")
	}
	if copied.Public() != pub {
		t.Error("Wipe also erased the public key")
	}
	if _, err := signer.Sign(nil, []byte("message"), crypto.Hash(0)); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("signer outlived Wipe: %v", err)
	}
	var zero key.SigningPrivate
	if zero.Sign(nil) != nil || zero.Seed() != nil || !zero.Public().IsZero() {
		t.Error("zero key")
	}
	zero.Wipe()
}

func TestExchange(t *testing.T) {
	a, b := key.GenerateExchange(), key.GenerateExchange()
	s1, err1 := a.DH(b.Public())
	s2, err2 := b.DH(a.Public())
	if err1 != nil || err2 != nil || !bytes.Equal(s1, s2) || len(s1) != key.ExchangeSecretSize {
		t.Fatal("the two sides disagree", err1, err2)
	}
	again, err := key.ParseExchangePrivate(a.Seed())
	if err != nil || again.Public() != a.Public() {
		t.Fatalf("the key of its own seed differs: %v", err)
	}
	pub, err := key.ParseExchangePublic(a.Public().Bytes())
	if err != nil || !pub.Equal(a.Public()) {
		t.Fatalf("the parsed public key differs: %v", err)
	}
	if _, err := a.DH(key.ExchangePublic{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("exchange with no key: %v", err)
	}
	copied := a
	a.Wipe()
	if _, err := copied.DH(b.Public()); !errors.Is(err, key.ErrNoKey) || copied.Seed() != nil {
		t.Errorf("a copy has a secret after Wipe: %v", err)
	}
	var zero key.ExchangePrivate
	if _, err := zero.DH(b.Public()); !errors.Is(err, key.ErrNoKey) || !zero.Public().IsZero() {
		t.Errorf("zero key: %v", err)
	}
	zero.Wipe()
}

func TestKEM(t *testing.T) {
	priv := key.GenerateKEM()
	again, err := key.ParseKEMSeed(priv.Seed())
	if err != nil || !again.Public().Equal(priv.Public()) {
		t.Fatalf("the key of its own seed differs: %v", err)
	}
	pub, err := key.ParseKEMPublic(priv.Public().Bytes())
	if err != nil || !pub.Equal(priv.Public()) || pub.Equal(key.GenerateKEM().Public()) {
		t.Fatalf("the parsed public key differs: %v", err)
	}
	secret, ct, err := pub.Encapsulate()
	if err != nil || len(secret) != key.KEMSecretSize || len(ct) != key.KEMCiphertextSize {
		t.Fatalf("encapsulate: %d, %d, %v", len(secret), len(ct), err)
	}
	got, err := priv.Decapsulate(ct)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("the two sides disagree: %v", err)
	}
	ct[0] ^= 1
	if got, err := priv.Decapsulate(ct); err != nil || bytes.Equal(got, secret) {
		t.Errorf("changed ciphertext: %v", err)
	}
	if _, err := priv.Decapsulate(ct[1:]); !errors.Is(err, key.ErrLength) {
		t.Errorf("short ciphertext: %v", err)
	}
	copied := priv
	priv.Wipe()
	if _, err := copied.Decapsulate(ct); !errors.Is(err, key.ErrNoKey) || copied.Seed() != nil || !copied.Public().IsZero() {
		t.Errorf("a copy has a secret after Wipe: %v", err)
	}
	if _, _, err := (key.KEMPublic{}).Encapsulate(); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("zero key: %v", err)
	}
	key.KEMPrivate{}.Wipe()
}

func TestDeviceID(t *testing.T) {
	pub, exchange := key.GenerateSigning().Public(), key.GenerateExchange().Public()
	id := key.NewDeviceID(pub, exchange)
	sum := sha256.Sum256(append(pub.Bytes(), exchange.Bytes()...))
	if !bytes.Equal(id[:], sum[:key.DeviceIDSize]) {
		t.Error("the id is not the beginning of the hash of both keys")
	}
	if key.NewDeviceID(pub, key.GenerateExchange().Public()) == id || key.NewDeviceID(key.GenerateSigning().Public(), exchange) == id {
		t.Error("another key gives the same id")
	}
	if !key.NewDeviceID(pub, key.ExchangePublic{}).IsZero() || !key.NewDeviceID(key.SigningPublic{}, exchange).IsZero() {
		t.Error("a device id was computed without one of the keys")
	}
	s := id.String()
	if back, err := key.ParseDeviceID(s); err != nil || back != id || len(s) != key.DeviceIDTextSize {
		t.Fatalf("%q: %v", s, err)
	}
	var text struct{ ID key.DeviceID }
	data, err := json.Marshal(struct{ ID key.DeviceID }{id})
	if err != nil || json.Unmarshal(data, &text) != nil || text.ID != id {
		t.Errorf("JSON %s: %v", data, err)
	}
	last := s[:len(s)-1]
	for _, bad := range []string{"", s[1:], s + "a", strings.ToUpper(s), last + "=", last + "\n", last + "1",
		// The last character carries three bits of the id; the other two must be zero.
		"aaaaaaaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaad"} {
		if _, err := key.ParseDeviceID(bad); err == nil {
			t.Errorf("%q parsed", bad)
		}
	}
	if _, err := key.ParseDeviceID("aaaaaaaaaaaaaaaaaaaaaaaaae"); err != nil {
		t.Error(err)
	}
	if _, err := key.DeviceIDFromBytes(id[1:]); !errors.Is(err, key.ErrLength) {
		t.Error("short id")
	}
	if !(key.DeviceID{}).IsZero() || id.IsZero() {
		t.Error("IsZero")
	}
}

func TestLengths(t *testing.T) {
	for n := range 2000 {
		b := bytes.Repeat([]byte{7}, n)
		check := func(what string, want int, err error) {
			if (n != want) != errors.Is(err, key.ErrLength) {
				t.Errorf("%s of %d bytes: %v", what, n, err)
			}
		}
		_, err := key.ParseSigningPublic(b)
		check("signing public", key.SigningPublicSize, err)
		_, err = key.ParseSigningSeed(b)
		check("signing seed", key.SigningSeedSize, err)
		_, err = key.ParseExchangePublic(b)
		check("exchange public", key.ExchangePublicSize, err)
		_, err = key.ParseExchangePrivate(b)
		check("exchange private", key.ExchangePrivateSize, err)
		_, err = key.ParseKEMPublic(b)
		check("kem public", key.KEMPublicSize, err)
		_, err = key.ParseKEMSeed(b)
		check("kem seed", key.KEMSeedSize, err)
	}
}

// No verb, logger or marshaller shows a secret, wherever it is embedded.
func TestRedaction(t *testing.T) {
	seed := sha512.Sum512([]byte("canary"))
	signing, _ := key.ParseSigningSeed(seed[:32])
	exchange, _ := key.ParseExchangePrivate(seed[:32])
	kem, _ := key.ParseKEMSeed(seed[:])
	type holder struct {
		Exported any
		hidden   key.SigningPrivate
		x        key.ExchangePrivate
		k        *key.KEMPrivate
	}
	values := []any{signing, &signing, exchange, &exchange, kem, &kem, signing.Signer(),
		holder{Exported: signing, hidden: signing, x: exchange, k: &kem},
		[]key.SigningPrivate{signing}, map[string]key.KEMPrivate{"k": kem}}
	for _, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%o", "%b", "%c", "%U", "%t", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		data, _ := json.Marshal(v) // an error is also fine
		out.Write(data)
		opts := &slog.HandlerOptions{Level: slog.LevelDebug}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, opts), slog.NewJSONHandler(&out, opts)} {
			slog.New(h).Info("m", "k", v, slog.Group("g", "k", v))
		}
		fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", v))
		assertNoSecret(t, reflect.TypeOf(v).String(), out.String(), seed[:])
	}
	if got := fmt.Sprintf("%v %+v %#v %s %x %q", signing, exchange, kem, signing, exchange, kem); strings.Count(got, "(redacted)") != 6 {
		t.Errorf("printed %q", got)
	}
	for _, v := range []any{signing, exchange, kem} {
		if reflect.TypeOf(v).Comparable() {
			t.Errorf("%T is comparable", v)
		}
		for _, m := range []string{"MarshalJSON", "MarshalText", "MarshalBinary", "GobEncode", "String"} {
			if _, ok := reflect.TypeOf(v).MethodByName(m); ok {
				t.Errorf("%T has %s", v, m)
			}
		}
	}
}

// assertNoSecret looks for four consecutive bytes of the secret in the forms in which it could be
// printed.
func assertNoSecret(t *testing.T, what, out string, secret []byte) {
	t.Helper()
	lower := strings.ToLower(out)
	for i := 0; i+4 <= len(secret); i++ {
		w := secret[i : i+4]
		for _, form := range []string{
			hex.EncodeToString(w), string(w),
			fmt.Sprintf("%d %d %d %d", w[0], w[1], w[2], w[3]),
			fmt.Sprintf("%#x, %#x, %#x, %#x", w[0], w[1], w[2], w[3]),
			fmt.Sprintf("%d,%d,%d,%d", w[0], w[1], w[2], w[3]),
		} {
			if strings.Contains(lower, strings.ToLower(form)) {
				t.Fatalf("%s shows a secret: %q in %q", what, form, out)
			}
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(key.GenerateSigning().Public().Bytes())
	f.Add(key.GenerateExchange().Public().Bytes())
	f.Add(key.GenerateKEM().Public().Bytes())
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		known := func(err error) bool {
			for _, e := range errorsOfParse {
				if errors.Is(err, e) {
					return true
				}
			}
			return false
		}
		if p, err := key.ParseSigningPublic(b); err == nil && !bytes.Equal(p.Bytes(), b) || err != nil && !known(err) {
			t.Errorf("signing key %x: %v", b, err)
		}
		if p, err := key.ParseExchangePublic(b); err == nil && !bytes.Equal(p.Bytes(), b) || err != nil && !known(err) {
			t.Errorf("exchange key %x: %v", b, err)
		}
		if p, err := key.ParseKEMPublic(b); err == nil && !bytes.Equal(p.Bytes(), b) || err != nil && !known(err) {
			t.Errorf("kem key %x: %v", b, err)
		}
	})
}

func FuzzParseDeviceID(f *testing.F) {
	f.Add(key.NewDeviceID(key.GenerateSigning().Public(), key.GenerateExchange().Public()).String())
	f.Add("aaaaaaaaaaaaaaaaaaaaaaaaab")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := key.ParseDeviceID(s); err == nil && id.String() != s {
			t.Errorf("%q parsed as %q", s, id)
		}
	})
}

func BenchmarkParseSigningPublic(b *testing.B) {
	pub := key.GenerateSigning().Public().Bytes()
	for b.Loop() {
		if _, err := key.ParseSigningPublic(pub); err != nil {
			b.Fatal(err)
		}
	}
}
