package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha512"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/internal/wycheproof"
)

// vector has the fields of the files that are read here.
type vector struct {
	wycheproof.Header

	Key, IV, AAD, Msg, CT, Tag wycheproof.Hex // AEAD
	IKM, Salt, Info, OKM       wycheproof.Hex // HKDF
	Size                       int
}

// loadVectors reads the tests of all groups.
func loadVectors(t *testing.T, name string) []vector {
	t.Helper()
	var all []vector
	for _, g := range wycheproof.Load[vector](t, name) {
		all = append(all, g.Tests...)
	}
	return all
}

// The cipher below the committed AEAD, through the type that contains its derived key and nonce.
func TestWycheproofChaCha20Poly1305(t *testing.T) {
	for _, v := range loadVectors(t, "chacha20_poly1305_test.json") {
		if len(v.IV) != chacha20poly1305.NonceSize {
			if v.Result != "invalid" {
				t.Errorf("%d: nonce of %d bytes is %s", v.ID, len(v.IV), v.Result)
			}
			continue // a derived nonce always has its length
		}
		d := derived(slices.Concat(v.Key, v.IV))
		aead, err := d.aead()
		if err != nil {
			t.Fatal(err)
		}
		ct := slices.Concat(v.CT, v.Tag)
		got, err := aead.Open(nil, d.nonce(), ct, v.AAD)
		if v.Result == "valid" {
			if err != nil || !bytes.Equal(got, v.Msg) {
				t.Errorf("%d (%s): %x, %v", v.ID, v.Comment, got, err)
			}
			if !bytes.Equal(aead.Seal(nil, d.nonce(), v.Msg, v.AAD), ct) {
				t.Errorf("%d (%s): another ciphertext", v.ID, v.Comment)
			}
		} else if err == nil {
			t.Errorf("%d (%s): opened", v.ID, v.Comment)
		}
	}
}

// The at-rest form, with the vector's own associated data. A nonce of another length shifts the
// ciphertext, so it does not open either.
func TestWycheproofXChaCha20Poly1305(t *testing.T) {
	for _, v := range loadVectors(t, "xchacha20_poly1305_test.json") {
		k, err := ParseStorageKey(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.open(v.AAD, slices.Concat([]byte{version}, v.IV, v.CT, v.Tag))
		if v.Result == "valid" {
			if err != nil || !bytes.Equal(got, v.Msg) {
				t.Errorf("%d (%s): %x, %v", v.ID, v.Comment, got, err)
			}
		} else if err == nil {
			t.Errorf("%d (%s): opened", v.ID, v.Comment)
		}
	}
}

func TestWycheproofHKDF(t *testing.T) {
	for _, v := range loadVectors(t, "hkdf_sha512_test.json") {
		got, err := hkdf.Key(sha512.New, v.IKM, v.Salt, string(v.Info), v.Size)
		if v.Result == "valid" {
			if err != nil || !bytes.Equal(got, v.OKM) {
				t.Errorf("%d (%s): %x, %v", v.ID, v.Comment, got, err)
			}
		} else if err == nil {
			t.Errorf("%d (%s): accepted", v.ID, v.Comment)
		}
	}
}
