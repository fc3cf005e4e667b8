package key

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem/mlkemtest"
	"errors"
	"testing"

	"secmsg/crypto/internal/wycheproof"
)

// vector has the fields of all Wycheproof schemas that the tests use.
type vector struct {
	wycheproof.Header

	Public, Private, Shared wycheproof.Hex // X25519
	Msg, Sig                wycheproof.Hex // Ed25519
	Seed, EK, C, K, M       wycheproof.Hex // ML-KEM
}

// Our parser refuses some coordinates that RFC 7748 permits: low order and non-canonical ones. The
// accepted ones must give the shared secret of the vector.
func TestWycheproofX25519(t *testing.T) {
	agreed := 0
	for _, g := range wycheproof.Load[vector](t, "x25519_test.json") {
		for _, v := range g.Tests {
			pub, err := ParseExchangePublic(v.Public)
			if v.Has("NonCanonicalPublic") || v.Has("LowOrderPublic") || v.Has("ZeroSharedSecret") || v.Public[31]&0x80 != 0 {
				if !errors.Is(err, ErrEncoding) && !errors.Is(err, ErrLowOrder) {
					t.Errorf("%d (%s): parsed %x: %v", v.ID, v.Comment, v.Public, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%d (%s): %v", v.ID, v.Comment, err)
				continue
			}
			priv, err := ParseExchangePrivate(v.Private)
			if err != nil {
				t.Fatal(err)
			}
			secret, err := priv.DH(pub)
			if err != nil || !bytes.Equal(secret, v.Shared) {
				t.Errorf("%d (%s): secret %x, %v; want %x", v.ID, v.Comment, secret, err, v.Shared)
			}
			agreed++
		}
	}
	if agreed < 450 {
		t.Errorf("only %d vectors reached the exchange", agreed)
	}
}

// Even a point that the parser failed to refuse must not give a zero secret.
func TestZeroSecretRefused(t *testing.T) {
	priv := GenerateExchange()
	for _, low := range lowOrderMontgomery() {
		if _, err := priv.DH(ExchangePublic{b: low}); err == nil {
			t.Errorf("exchange with %x succeeded", low)
		}
		std, err := ecdh.X25519().NewPublicKey(low[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := priv.s.Get().ECDH(std); err == nil {
			t.Errorf("%x is not of low order", low)
		}
	}
}

func TestWycheproofEd25519(t *testing.T) {
	for _, g := range wycheproof.Load[vector](t, "ed25519_test.json") {
		pub, err := ParseSigningPublic(g.PublicKey.PK)
		if err != nil {
			t.Fatalf("public key %x: %v", g.PublicKey.PK, err)
		}
		for _, v := range g.Tests {
			if got, want := pub.Verify(v.Msg, v.Sig), v.Result == "valid"; got != want {
				t.Errorf("%d (%s): verify is %v, want %v", v.ID, v.Comment, got, want)
			}
		}
	}
}

func TestWycheproofMLKEM(t *testing.T) {
	for _, g := range wycheproof.Load[vector](t, "mlkem_768_test.json") {
		for _, v := range g.Tests {
			secret, err := decapsulateVector(v)
			if v.Result == "valid" {
				if err != nil || !bytes.Equal(secret, v.K) {
					t.Errorf("%d (%s): secret %x, %v; want %x", v.ID, v.Comment, secret, err, v.K)
				}
			} else if err == nil {
				t.Errorf("%d (%s): accepted", v.ID, v.Comment)
			}
		}
	}
}

func decapsulateVector(v vector) ([]byte, error) {
	priv, err := ParseKEMSeed(v.Seed)
	if err != nil {
		return nil, err
	}
	if len(v.EK) != 0 && !bytes.Equal(priv.Public().Bytes(), v.EK) {
		return nil, errors.New("another public key")
	}
	return priv.Decapsulate(v.C)
}

func TestWycheproofMLKEMKeygen(t *testing.T) {
	for _, g := range wycheproof.Load[vector](t, "mlkem_768_keygen_seed_test.json") {
		for _, v := range g.Tests {
			priv, err := ParseKEMSeed(v.Seed)
			if err != nil || !bytes.Equal(priv.Public().Bytes(), v.EK) || !bytes.Equal(priv.Seed(), v.Seed) {
				t.Errorf("%d (%s): wrong key: %v", v.ID, v.Comment, err)
			}
		}
	}
}

func TestWycheproofMLKEMEncaps(t *testing.T) {
	for _, g := range wycheproof.Load[vector](t, "mlkem_768_encaps_test.json") {
		for _, v := range g.Tests {
			pub, err := ParseKEMPublic(v.EK)
			if v.Result != "valid" {
				if err == nil {
					t.Errorf("%d (%s): parsed", v.ID, v.Comment)
				}
				continue
			}
			if err != nil || !bytes.Equal(pub.Bytes(), v.EK) {
				t.Errorf("%d (%s): %v", v.ID, v.Comment, err)
				continue
			}
			secret, ct, err := mlkemtest.Encapsulate768(pub.ek, v.M)
			if err != nil || !bytes.Equal(secret, v.K) || !bytes.Equal(ct, v.C) {
				t.Errorf("%d (%s): wrong encapsulation: %v", v.ID, v.Comment, err)
			}
		}
	}
}
