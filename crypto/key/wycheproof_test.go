package key

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem/mlkemtest"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// vector has the fields of all the Wycheproof schemas that are read here.
type vector struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"`
	Result  string   `json:"result"`

	Public, Private, Shared hexBytes // X25519
	Msg, Sig                hexBytes // Ed25519
	Seed, EK, C, K, M       hexBytes // ML-KEM
}

func (v vector) has(flag string) bool { return slices.Contains(v.Flags, flag) }

type group struct {
	PublicKey struct {
		PK hexBytes `json:"pk"`
	} `json:"publicKey"`
	Tests []vector `json:"tests"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// loadVectors reads a Wycheproof file and checks that all its tests are there.
func loadVectors(t *testing.T, name string) []group {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "wycheproof", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int     `json:"numberOfTests"`
		TestGroups    []group `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range file.TestGroups {
		n += len(g.Tests)
	}
	if n == 0 || n != file.NumberOfTests {
		t.Fatalf("%s: %d tests, says %d", name, n, file.NumberOfTests)
	}
	return file.TestGroups
}

// Our parser refuses what RFC 7748 lets pass: low order and non-canonical
// coordinates. What it lets pass must give the shared secret of the vector.
func TestWycheproofX25519(t *testing.T) {
	agreed := 0
	for _, g := range loadVectors(t, "x25519_test.json") {
		for _, v := range g.Tests {
			pub, err := ParseExchangePublic(v.Public)
			if v.has("NonCanonicalPublic") || v.has("LowOrderPublic") || v.has("ZeroSharedSecret") || v.Public[31]&0x80 != 0 {
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

// Even a point that got past the parser must not give a zero secret.
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
	for _, g := range loadVectors(t, "ed25519_test.json") {
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
	for _, g := range loadVectors(t, "mlkem_768_test.json") {
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
	for _, g := range loadVectors(t, "mlkem_768_keygen_seed_test.json") {
		for _, v := range g.Tests {
			priv, err := ParseKEMSeed(v.Seed)
			if err != nil || !bytes.Equal(priv.Public().Bytes(), v.EK) || !bytes.Equal(priv.Seed(), v.Seed) {
				t.Errorf("%d (%s): wrong key: %v", v.ID, v.Comment, err)
			}
		}
	}
}

func TestWycheproofMLKEMEncaps(t *testing.T) {
	for _, g := range loadVectors(t, "mlkem_768_encaps_test.json") {
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
