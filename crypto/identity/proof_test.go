package identity

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"secmsg/crypto/key"
)

func TestRegistration(t *testing.T) {
	dev := key.GenerateSigning()
	r := Registration{Address: alice, Identity: key.GenerateSigning().Public(), Exchange: key.GenerateExchange().Public()}
	proof, err := r.Sign(dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(dev.Public(), proof); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *Registration){
		"account":  func(r *Registration) { r.Address = bob },
		"realm":    func(r *Registration) { r.Address.Domain = "example.org" },
		"identity": func(r *Registration) { r.Identity = key.GenerateSigning().Public() },
		"exchange": func(r *Registration) { r.Exchange = key.GenerateExchange().Public() },
		// The signature covers the border between user and domain.
		"border": func(r *Registration) { r.Address = Address{"alic", "echat.example.com"} },
	} {
		q := r
		change(&q)
		if err := q.Verify(dev.Public(), proof); !errors.Is(err, ErrSignature) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if err := r.Verify(key.GenerateSigning().Public(), proof); !errors.Is(err, ErrSignature) {
		t.Errorf("other key: %v", err)
	}
	if err := r.Verify(dev.Public(), nil); !errors.Is(err, ErrSignature) {
		t.Errorf("no proof: %v", err)
	}
	if _, err := (Registration{Address: alice}).Sign(dev); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no keys: %v", err)
	}
	if _, err := r.Sign(key.SigningPrivate{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no device key: %v", err)
	}
	r.Address.User = "Alice"
	if _, err := r.Sign(dev); !errors.Is(err, ErrFormat) {
		t.Errorf("bad account: %v", err)
	}
}

func TestChallenge(t *testing.T) {
	dev := key.GenerateSigning()
	c := Challenge{Address: alice, Device: devID, Role: "replica", Nonce: bytes.Repeat([]byte{1}, ChallengeNonceSize)}
	answer, err := c.Sign(dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(dev.Public(), answer); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Challenge){
		"account": func(c *Challenge) { c.Address = bob },
		"realm":   func(c *Challenge) { c.Address.Domain = "example.org" },
		"device":  func(c *Challenge) { c.Device[0] ^= 1 },
		"role":    func(c *Challenge) { c.Role = "contact" },
		"nonce":   func(c *Challenge) { c.Nonce = make([]byte, ChallengeNonceSize) },
	} {
		d := c
		change(&d)
		if err := d.Verify(dev.Public(), answer); !errors.Is(err, ErrSignature) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if err := c.Verify(key.GenerateSigning().Public(), answer); !errors.Is(err, ErrSignature) {
		t.Errorf("other key: %v", err)
	}
	for name, bad := range map[string]Challenge{
		"short nonce": {Address: alice, Role: "api", Nonce: c.Nonce[1:]},
		"long nonce":  {Address: alice, Role: "api", Nonce: append(bytes.Clone(c.Nonce), 0)},
		"no role":     {Address: alice, Nonce: c.Nonce},
		"long role":   {Address: alice, Role: "abcdefghijklmnopq", Nonce: c.Nonce},
		"bad role":    {Address: alice, Role: "Api", Nonce: c.Nonce},
		"no account":  {Role: "api", Nonce: c.Nonce},
	} {
		if _, err := bad.Sign(dev); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: signed: %v", name, err)
		}
		if err := bad.Verify(dev.Public(), answer); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: verified: %v", name, err)
		}
	}
	if _, err := c.Sign(key.SigningPrivate{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no device key: %v", err)
	}
}

// A signature for one purpose is never valid for another, whatever the body: one key signs the same
// bytes under every label.
func TestLabels(t *testing.T) {
	labels := []string{labelManifest, labelPrekey, labelRegistration, labelChallenge, labelStatement, labelInviteToken}
	priv, body := key.GenerateSigning(), []byte("body")
	for _, a := range labels {
		// A first byte of 0x30 would begin a certificate, and one of 0x20 the signed input of a TLS 1.3
		// handshake.
		if len(a) == 0x20 || len(a) == 0x30 {
			t.Errorf("label %q has %d bytes", a, len(a))
		}
		sig := priv.Sign(signingInput(a, body))
		for _, b := range labels {
			if priv.Public().Verify(signingInput(b, body), sig) != (a == b) {
				t.Errorf("%q and %q", a, b)
			}
		}
	}
	// A label and a body cannot be confused with another label and body.
	if bytes.Equal(signingInput("ab", []byte("c")), signingInput("a", []byte("bc"))) {
		t.Error("ambiguous")
	}
}

// The table of labels in SPEC.md is complete: it lists every label of the code once, and nothing else.
func TestLabelsAreThoseOfTheSpecification(t *testing.T) {
	spec := must[[]byte](t)(os.ReadFile(filepath.Join("..", "SPEC.md")))
	inSpec := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(secmsg [^`]*)` \\|").FindAllStringSubmatch(string(spec), -1) {
		if inSpec[m[1]] {
			t.Errorf("%q is in the table twice", m[1])
		}
		inSpec[m[1]] = true
	}
	inCode := map[string]bool{}
	label := regexp.MustCompile(`"(secmsg [^"]*v1[^"]*)"`)
	for _, dir := range []string{filepath.Join(".."), filepath.Join("..", "..", "daemon")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, m := range label.FindAllStringSubmatch(string(must[[]byte](t)(os.ReadFile(path))), -1) {
				inCode[m[1]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(inCode) < 15 {
		t.Fatalf("%d labels in the code", len(inCode))
	}
	for l := range inCode {
		if !inSpec[l] {
			t.Errorf("%q is not in SPEC.md", l)
		}
		if !strings.HasPrefix(l, "secmsg v1 ") || len(l) == 0x20 || len(l) == 0x30 {
			t.Errorf("%q is not of the form that SPEC.md requires of labels", l)
		}
	}
	for l := range inSpec {
		if !inCode[l] {
			t.Errorf("%q is in SPEC.md only", l)
		}
	}
}
