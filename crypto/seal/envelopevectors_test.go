package seal_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"math/bits"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/seal"
)

// envelopeVectors is crypto/testdata/envelope.json: SPEC "Committed AEAD" and
// "Padding".
type envelopeVectors struct {
	Comment string            `json:"comment"`
	Sealed  []envelopeVector  `json:"sealed"`
	Refused []envelopeRefusal `json:"refused"`
	Padded  []paddedVector    `json:"padded"`
	BadPads []envelopeBadPad  `json:"padding_refused"`
}

type envelopeVector struct {
	Key       hexText `json:"key"` // message key and header key
	Salt      hexText `json:"salt"`
	AD        hexText `json:"ad"`
	Plaintext hexText `json:"plaintext"`
	Body      hexText `json:"body"`
	Header    hexText `json:"header"`
}

type envelopeRefusal struct {
	Name  string  `json:"name"`
	Error string  `json:"error"` // format, commitment, open
	Key   hexText `json:"key"`
	Salt  hexText `json:"salt"`
	AD    hexText `json:"ad"`
	Body  hexText `json:"body"`
}

type paddedVector struct {
	Length int `json:"length"`
	Padded int `json:"padded"`
}

type envelopeBadPad struct {
	Name   string  `json:"name"`
	Padded hexText `json:"padded"`
}

// A second implementation of a body, from the specification alone.
func specBody(key, salt, ad, plaintext []byte) (commitment, ciphertext []byte) {
	sum := sha256.Sum256(ad)
	okm, err := hkdf.Key(sha512.New, key, salt, "secmsg v1 envelope body"+string(sum[:]), 76)
	if err != nil {
		return nil, nil
	}
	aead, err := chacha20poly1305.New(okm[:32])
	if err != nil {
		return nil, nil
	}
	return okm[44:], aead.Seal(nil, okm[32:44], plaintext, nil)
}

func specHeaderBox(key, salt, ad, header []byte) []byte {
	okm, err := hkdf.Key(sha512.New, key, salt, "secmsg v1 envelope header", 44)
	if err != nil {
		return nil
	}
	aead, err := chacha20poly1305.New(okm[:32])
	if err != nil {
		return nil
	}
	return aead.Seal(nil, okm[32:], header, ad)
}

func specPadded(n int) int {
	l := n + 1
	if l <= 160 {
		return 160
	}
	e := bits.Len(uint(l)) - 1
	step := 1 << (e - bits.Len(uint(e)))
	return (l + step - 1) / step * step
}

func makeEnvelopeVectors() envelopeVectors {
	v := envelopeVectors{Comment: `crypto/SPEC.md "Committed AEAD" and "Padding"; plaintexts are not padded here`}
	key, salt := bytes.Repeat([]byte{0x11}, 32), bytes.Repeat([]byte{0x22}, 16)
	for _, x := range []struct {
		ad        string
		plaintext []byte
	}{{"ad", []byte("hello")}, {"", nil}, {"another", pattern(1000)}} {
		commitment, ct := specBody(key, salt, []byte(x.ad), x.plaintext)
		v.Sealed = append(v.Sealed, envelopeVector{
			Key: key, Salt: salt, AD: []byte(x.ad), Plaintext: x.plaintext,
			Body: append(commitment, ct...), Header: specHeaderBox(key, salt, []byte(x.ad), x.plaintext),
		})
	}
	good := v.Sealed[0]
	refuse := func(name, code string, change func(r *envelopeRefusal)) {
		r := envelopeRefusal{Name: name, Error: code, Key: bytes.Clone(good.Key), Salt: bytes.Clone(good.Salt), AD: bytes.Clone(good.AD), Body: bytes.Clone(good.Body)}
		change(&r)
		v.Refused = append(v.Refused, r)
	}
	refuse("other associated data", "commitment", func(r *envelopeRefusal) { r.AD[0] ^= 1 })
	refuse("no associated data", "commitment", func(r *envelopeRefusal) { r.AD = nil })
	refuse("another key", "commitment", func(r *envelopeRefusal) { r.Key[31] ^= 1 })
	refuse("another salt", "commitment", func(r *envelopeRefusal) { r.Salt[0] ^= 1 })
	refuse("commitment changed", "commitment", func(r *envelopeRefusal) { r.Body[31] ^= 1 })
	refuse("ciphertext changed", "open", func(r *envelopeRefusal) { r.Body[32] ^= 1 })
	refuse("tag changed", "open", func(r *envelopeRefusal) { r.Body[len(r.Body)-1] ^= 0x80 })
	refuse("too short", "format", func(r *envelopeRefusal) { r.Body = r.Body[:47] })
	refuse("the ciphertext for other associated data behind this commitment", "open", func(r *envelopeRefusal) {
		_, ct := specBody(key, salt, []byte("ae"), []byte("hello"))
		r.Body = append(r.Body[:32], ct...)
	})
	refuse("the tag over the associated data instead of their hash in the key", "open", func(r *envelopeRefusal) {
		sum := sha256.Sum256(r.AD)
		okm, _ := hkdf.Key(sha512.New, key, salt, "secmsg v1 envelope body"+string(sum[:]), 76)
		if aead, err := chacha20poly1305.New(okm[:32]); err == nil {
			r.Body = append(r.Body[:32], aead.Seal(nil, okm[32:44], []byte("hello"), r.AD)...)
		}
	})
	for _, n := range []int{0, 1, 119, 158, 159, 160, 175, 176, 255, 256, 1000, 4095, 4096, 65535, 65536, 73768} {
		v.Padded = append(v.Padded, paddedVector{n, specPadded(n)})
	}
	bad := func(name string, n int, change func(b []byte)) {
		b := make([]byte, n)
		change(b)
		v.BadPads = append(v.BadPads, envelopeBadPad{name, b})
	}
	bad("zeros only", 160, func([]byte) {})
	bad("no 80 before the zeros", 160, func(b []byte) { b[10] = 0x81 })
	bad("shorter than the least", 159, func(b []byte) { b[10] = 0x80 })
	bad("one longer than the length for what remains", 161, func(b []byte) { b[10] = 0x80 })
	bad("a length that none has", 177, func(b []byte) { b[176] = 0x80 })
	bad("a longer step than is needed", 192, func(b []byte) { b[160] = 0x80 })
	return v
}

func TestEnvelopeVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "envelope.json")
	if *update {
		b, err := json.MarshalIndent(makeEnvelopeVectors(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v envelopeVectors
	if err := json.Unmarshal(data, &v); err != nil || len(v.Sealed) < 3 || len(v.Refused) < 8 || len(v.BadPads) < 5 {
		t.Fatal("vectors", err)
	}
	for i, x := range v.Sealed {
		body, err := seal.SealBody(x.Key, seal.Salt(x.Salt), x.AD, x.Plaintext)
		if err != nil || !bytes.Equal(body, x.Body) {
			t.Errorf("body %d: %x %v", i, body, err)
		}
		header, err := seal.SealHeader(x.Key, seal.Salt(x.Salt), x.AD, x.Plaintext)
		if err != nil || !bytes.Equal(header, x.Header) {
			t.Errorf("header %d: %x %v", i, header, err)
		}
		if got, err := seal.OpenBody(x.Key, seal.Salt(x.Salt), x.AD, x.Body); err != nil || !bytes.Equal(got, x.Plaintext) {
			t.Errorf("body %d does not open: %v", i, err)
		}
		if got, err := seal.OpenHeader(x.Key, seal.Salt(x.Salt), x.AD, x.Header); err != nil || !bytes.Equal(got, x.Plaintext) {
			t.Errorf("header %d does not open: %v", i, err)
		}
	}
	for _, x := range v.Refused {
		if _, err := seal.OpenBody(x.Key, seal.Salt(x.Salt), x.AD, x.Body); !errors.Is(err, errorNames()[x.Error]) {
			t.Errorf("%s: %v, want %s", x.Name, err, x.Error)
		}
	}
	for _, x := range v.Padded {
		if got := len(seal.Pad(make([]byte, x.Length))); got != x.Padded || got != specPadded(x.Length) {
			t.Errorf("%d bytes padded to %d, want %d", x.Length, got, x.Padded)
		}
	}
	for _, x := range v.BadPads {
		if _, err := seal.Unpad(x.Padded); err == nil {
			t.Errorf("%s: taken", x.Name)
		}
	}
}
