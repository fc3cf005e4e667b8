package identity

import (
	"bytes"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"

	"secmsg/crypto/key"
)

// Parameters of the safety number. They equal Signal's (libsignal's numeric fingerprint, version 0;
// SPEC "Safety number").
const (
	// safetyIterations is the number of hashes. It makes searching for a key with a similar number 2^12
	// times as expensive.
	safetyIterations = 5200
	// safetyVersion is the prefix of the first hash input.
	safetyVersion = 0
	// safetyGroups and safetyGroupBytes: each party's half is 6 groups of five
	// digits, each from five bytes of the hash.
	safetyGroups     = 6
	safetyGroupBytes = 5
	safetyModulus    = 100000

	// SafetyDigits is the length of a safety number.
	SafetyDigits = 2 * safetyGroups * 5
)

// SafetyNumber is the number that two people compare to be sure that each has the other's true identity
// key. It is the same on both sides, and comparable.
type SafetyNumber struct {
	digits [2][safetyGroups * 5]byte // ascending
}

// NewSafetyNumber computes the safety number of two accounts, in either order. It takes about 5 ms. It
// returns an error if a key is zero or an address invalid.
func NewSafetyNumber(a Address, aKey key.SigningPublic, b Address, bKey key.SigningPublic) (SafetyNumber, error) {
	if aKey.IsZero() || bKey.IsZero() {
		return SafetyNumber{}, fmt.Errorf("safety number: %w", key.ErrNoKey)
	}
	for _, addr := range []Address{a, b} {
		if err := addr.Validate(); err != nil {
			return SafetyNumber{}, fmt.Errorf("safety number: %w", err)
		}
	}
	return safetyOf(
		safetyHash(aKey.Bytes(), []byte(a.String()), safetyIterations),
		safetyHash(bKey.Bytes(), []byte(b.String()), safetyIterations),
	), nil
}

// String returns the 60 digits. Never show them shortened: finding a key that matches half of them is
// feasible.
func (s SafetyNumber) String() string { return string(s.digits[0][:]) + string(s.digits[1][:]) }

// MatchDigits compares the number with a person's or script's input: sixty digits; spaces and line
// breaks between them are ignored. It returns [ErrMismatch] for another number and [ErrFormat] for
// anything else.
func (s SafetyNumber) MatchDigits(input string) error {
	// This leaves room for groups on separate lines; longer input is no safety number.
	if len(input) > 4*SafetyDigits {
		return fmt.Errorf("safety number of %d bytes: %w", len(input), ErrFormat)
	}
	got := strings.Join(strings.Fields(input), "")
	if len(got) != SafetyDigits || strings.Trim(got, "0123456789") != "" {
		return fmt.Errorf("safety number is not %d digits: %w", SafetyDigits, ErrFormat)
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(s.String())) != 1 {
		return fmt.Errorf("safety number: %w", ErrMismatch)
	}
	return nil
}

// safetyHash is Signal's iterated hash of one party: h = version || key || id, then n times h =
// SHA-512(h || key).
func safetyHash(pub, id []byte, n int) [sha512.Size]byte {
	h := binary.BigEndian.AppendUint16(nil, safetyVersion)
	h = append(h, pub...)
	h = append(h, id...)
	var sum [sha512.Size]byte
	for range n {
		h = append(h, pub...)
		sum = sha512.Sum512(h)
		h = append(h[:0], sum[:]...)
	}
	return sum
}

// safetyOf sorts the halves of two parties.
func safetyOf(a, b [sha512.Size]byte) SafetyNumber {
	s := SafetyNumber{digits: [2][safetyGroups * 5]byte{safetyHalf(a), safetyHalf(b)}}
	if bytes.Compare(s.digits[0][:], s.digits[1][:]) > 0 {
		s.digits[0], s.digits[1] = s.digits[1], s.digits[0]
	}
	return s
}

// safetyHalf returns the thirty digits of one party.
func safetyHalf(h [sha512.Size]byte) (out [safetyGroups * 5]byte) {
	for g := range safetyGroups {
		var n uint64
		for _, c := range h[g*safetyGroupBytes : (g+1)*safetyGroupBytes] {
			n = n<<8 | uint64(c)
		}
		copy(out[g*5:], fmt.Sprintf("%05d", n%safetyModulus))
	}
	return out
}
