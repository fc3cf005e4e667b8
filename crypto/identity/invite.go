package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"secmsg/crypto/key"
)

// Sizes of an invite's parts.
const (
	// InviteTokenSize is the length of a token in bytes: 128 bits cannot be guessed at any rate that a
	// server can answer.
	InviteTokenSize = 16
	// FingerprintSize is the length of a realm's fingerprint: a SHA-256.
	FingerprintSize = sha256.Size
	// MaxInvite bounds an invite's text in bytes.
	MaxInvite = len(URIScheme) + len("://") + MaxHostPort + len(invitePath) + 22 + 1 + 43
	// DefaultPort is the port of an invite without one.
	DefaultPort = "8443"

	// invitePath distinguishes an invite from other codes, such as a link code, which adds a device to
	// an account. One kind of code is never accepted as another.
	invitePath = "/join#"
)

// Fingerprint is the SHA-256 of a realm's root certificate (DER).
type Fingerprint [FingerprintSize]byte

// ParseFingerprint parses the text that String returns; else [ErrFormat].
func ParseFingerprint(s string) (Fingerprint, error) {
	b, err := decode64(s, FingerprintSize)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("realm fingerprint: %w", err)
	}
	return Fingerprint(b), nil
}

// String returns the fingerprint as 43 characters of base64url.
func (f Fingerprint) String() string { return base64.RawURLEncoding.EncodeToString(f[:]) }

// InviteToken is the secret that entitles its holder to register one account.
type InviteToken struct {
	key.Redacted
	s key.Hidden[[InviteTokenSize]byte]
}

// NewInviteToken makes a random token.
func NewInviteToken() InviteToken {
	var t [InviteTokenSize]byte
	rand.Read(t[:]) // crypto/rand: never fails since Go 1.24
	return InviteToken{s: key.Hide(&t)}
}

// InviteTokenFromBytes returns b as a token, or [ErrFormat] unless b has 16 bytes.
func InviteTokenFromBytes(b []byte) (InviteToken, error) {
	if len(b) != InviteTokenSize {
		return InviteToken{}, fmt.Errorf("invite token of %d bytes: %w", len(b), ErrFormat)
	}
	t := [InviteTokenSize]byte(b)
	return InviteToken{s: key.Hide(&t)}, nil
}

// Bytes returns a copy of the token, or nil if t is zero.
func (t InviteToken) Bytes() []byte {
	b := t.s.Get()
	if b == nil {
		return nil
	}
	return slices.Clone(b[:])
}

// Hash returns the hash that a server stores instead of the token. The token is random, so it needs no
// slow hash; looking up the hash leaks nothing about the token by timing.
func (t InviteToken) Hash() [sha256.Size]byte {
	return sha256.Sum256(signingInput(labelInviteToken, t.Bytes()))
}

// Invite is the code that a new user gets from an administrator: the server's address, a token, and the
// realm's fingerprint, which authenticates even the first connection. Printing an Invite does not show
// the token; URI does.
type Invite struct {
	Addr        string      // HOST or HOST:PORT, see ValidHostPort
	Token       InviteToken // single use
	Fingerprint Fingerprint
}

// ParseInvite parses secmsg://HOST[:PORT]/join#TOKEN.FINGERPRINT. It refuses every text that URI would
// not produce with [ErrFormat]. Errors never quote the text, because it contains a secret.
func ParseInvite(s string) (Invite, error) {
	if len(s) > MaxInvite {
		return Invite{}, fmt.Errorf("invite of %d bytes: %w", len(s), ErrFormat)
	}
	rest, ok := strings.CutPrefix(s, URIScheme+"://")
	if !ok {
		return Invite{}, fmt.Errorf("invite does not begin with %s://: %w", URIScheme, ErrFormat)
	}
	addr, rest, ok := strings.Cut(rest, invitePath)
	if !ok {
		return Invite{}, fmt.Errorf("invite has no %s: %w", invitePath, ErrFormat)
	}
	if ValidHostPort(addr) != nil {
		return Invite{}, fmt.Errorf("invite names no host: %w", ErrFormat)
	}
	token, print, ok := strings.Cut(rest, ".")
	if !ok {
		return Invite{}, fmt.Errorf("invite has no fingerprint: %w", ErrFormat)
	}
	b, err := decode64(token, InviteTokenSize)
	if err != nil {
		return Invite{}, fmt.Errorf("invite token: %w", err)
	}
	i := Invite{Addr: addr}
	if i.Token, err = InviteTokenFromBytes(b); err != nil {
		return Invite{}, err
	}
	if i.Fingerprint, err = ParseFingerprint(print); err != nil {
		return Invite{}, err
	}
	return i, nil
}

// URI returns the invite as text, including the token. It returns [ErrFormat] if Addr is invalid or the
// token is zero.
func (i Invite) URI() (string, error) {
	if err := ValidHostPort(i.Addr); err != nil {
		return "", fmt.Errorf("invite: %w", err)
	}
	token := i.Token.s.Get()
	if token == nil {
		return "", fmt.Errorf("invite without token: %w", ErrFormat)
	}
	return URIScheme + "://" + i.Addr + invitePath +
		base64.RawURLEncoding.EncodeToString(token[:]) + "." + i.Fingerprint.String(), nil
}

// DialAddr returns HOST:PORT, with [DefaultPort] for an invite without a port.
func (i Invite) DialAddr() string {
	if _, _, hasPort, _ := splitHostPort(i.Addr); hasPort {
		return i.Addr
	}
	return i.Addr + ":" + DefaultPort
}

// decode64 decodes base64url without padding to exactly n bytes. It accepts only the canonical
// encoding: the library ignores line breaks and, by default, the unused bits of the last character.
func decode64(s string, n int) ([]byte, error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(n) {
		return nil, fmt.Errorf("%d characters: %w", len(s), ErrFormat)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != n {
		return nil, fmt.Errorf("not base64url: %w", ErrFormat)
	}
	return b, nil
}
