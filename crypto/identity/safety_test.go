package identity

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"secmsg/crypto/key"
)

// grouped returns the digits as a person types them: in twelve groups of five.
func grouped(n SafetyNumber) string {
	var groups []string
	for group := range slices.Chunk([]byte(n.String()), 5) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, " ")
}

// The displayable vector of libsignal's tests of its numeric fingerprint
// (NumericFingerprintGeneratorTest), whose keys have a type byte.
func TestSafetyVector(t *testing.T) {
	unhex := func(s string) []byte { return must[[]byte](t)(hex.DecodeString(s)) }
	alice := unhex("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868")
	bob := unhex("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b")
	a := safetyHash(alice, []byte("+14152222222"), safetyIterations)
	b := safetyHash(bob, []byte("+14153333333"), safetyIterations)
	for _, n := range []SafetyNumber{safetyOf(a, b), safetyOf(b, a)} {
		if got, want := n.String(), "300354477692869396892869876765458257569162576843440918079131"; got != want {
			t.Errorf("safety number %s, want %s", got, want)
		}
	}
}

func TestSafetyNumber(t *testing.T) {
	a, b := key.GenerateSigning().Public(), key.GenerateSigning().Public()
	number := func(aAddr Address, aKey key.SigningPublic, bAddr Address, bKey key.SigningPublic) SafetyNumber {
		return must[SafetyNumber](t)(NewSafetyNumber(aAddr, aKey, bAddr, bKey))
	}
	n := number(alice, a, bob, b)
	if n != number(bob, b, alice, a) {
		t.Error("the number depends on the order of the accounts")
	}
	carol := Address{User: "carol", Domain: alice.Domain}
	for name, other := range map[string]SafetyNumber{
		"other key":      number(alice, a, bob, key.GenerateSigning().Public()),
		"other id":       number(alice, a, carol, b),
		"other realm":    number(alice, a, Address{bob.User, "example.org"}, b),
		"keys exchanged": number(alice, b, bob, a),
	} {
		if other.String() == n.String() {
			t.Errorf("%s: the same number", name)
		}
		if err := n.MatchDigits(other.String()); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: digits: %v", name, err)
		}
	}
	groups := grouped(n)
	for _, good := range []string{n.String(), groups, strings.ReplaceAll(groups, " ", "\n  ") + "\n"} {
		if err := n.MatchDigits(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", n.String()[:59], n.String() + "0", n.String()[:30], "x" + n.String()[1:], strings.Repeat(" ", 1000) + n.String(), "-" + n.String()[1:]} {
		if err := n.MatchDigits(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := NewSafetyNumber(alice, a, bob, key.SigningPublic{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := NewSafetyNumber(alice, a, Address{}, b); !errors.Is(err, ErrFormat) {
		t.Errorf("no address: %v", err)
	}
}

// A20: over 10,000 random pairs every position takes every digit evenly, and no
// two numbers share a half. The iterations are omitted for speed; they do not
// change the distribution.
func TestSafetyDigits(t *testing.T) {
	const pairs = 10_000
	var counts [SafetyDigits][10]int
	halves := map[string]bool{}
	for range pairs {
		var a, b [32]byte
		rand.Read(a[:])
		rand.Read(b[:])
		n := safetyOf(safetyHash(a[:], []byte("a"), 1), safetyHash(b[:], []byte("b"), 1))
		s := n.String()
		if len(s) != SafetyDigits {
			t.Fatalf("%d digits", len(s))
		}
		for i := range len(s) {
			counts[i][s[i]-'0']++
		}
		for _, half := range []string{s[:30], s[30:]} {
			if halves[half] {
				t.Fatalf("%s twice", half)
			}
			halves[half] = true
		}
	}
	for i, c := range counts {
		if i == 0 || i == SafetyDigits/2 {
			continue // the halves are sorted, so their first digits are not evenly distributed
		}
		for d, n := range c {
			// Expected: 1,000, with a standard deviation of 30.
			if n < 800 || n > 1200 {
				t.Errorf("place %d is %d in %d of %d numbers", i, d, n, pairs)
			}
		}
	}
}

func FuzzSafety(f *testing.F) {
	n := safetyOf(safetyHash([]byte("a"), nil, 1), safetyHash([]byte("b"), nil, 1))
	f.Add(n.String())
	f.Add(grouped(n))
	f.Fuzz(func(t *testing.T, digits string) {
		if n.MatchDigits(digits) == nil && strings.Join(strings.Fields(digits), "") != n.String() {
			t.Errorf("%q matches", digits)
		}
	})
}
