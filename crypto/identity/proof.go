package identity

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Sizes of challenges in bytes.
const (
	// ChallengeNonceSize is the length of a server's nonce.
	ChallengeNonceSize = 32
	// MaxRole bounds the name of a role.
	MaxRole = 16
)

// Registration is a device's statement when it joins an account: it holds the signing key, and wants to
// be a device of this account with this identity key and this exchange key.
type Registration struct {
	Address  Address
	Identity key.SigningPublic // of the account
	Exchange key.ExchangePublic
}

// Sign returns the proof by the device's signing key.
func (r Registration) Sign(dev key.SigningPrivate) ([]byte, error) {
	input, err := r.input(dev.Public())
	if err != nil {
		return nil, fmt.Errorf("registration proof: %w", err)
	}
	sig := dev.Sign(input)
	if sig == nil {
		return nil, fmt.Errorf("registration proof: %w", key.ErrNoKey)
	}
	return sig, nil
}

// Verify checks a proof by the device's signing key. It returns [ErrSignature] or, for invalid fields,
// [ErrFormat].
func (r Registration) Verify(dev key.SigningPublic, proof []byte) error {
	input, err := r.input(dev)
	if err != nil {
		return fmt.Errorf("registration proof: %w", err)
	}
	if !dev.Verify(input, proof) {
		return fmt.Errorf("registration proof: %w", ErrSignature)
	}
	return nil
}

func (r Registration) input(dev key.SigningPublic) ([]byte, error) {
	if r.Identity.IsZero() || r.Exchange.IsZero() || dev.IsZero() {
		return nil, key.ErrNoKey
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	addAddress(b, r.Address)
	b.AddBytes(r.Identity.Bytes())
	b.AddBytes(dev.Bytes())
	b.AddBytes(r.Exchange.Bytes())
	body, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return signingInput(labelRegistration, body), nil
}

// Challenge is the structure that a device signs to get an access token. The address determines the
// realm.
type Challenge struct {
	Address Address
	Device  key.DeviceID
	Role    string // the role of the token: 1 to 16 of a-z
	Nonce   []byte // the server's nonce, ChallengeNonceSize bytes
}

// Sign returns the answer by the device's signing key.
func (c Challenge) Sign(dev key.SigningPrivate) ([]byte, error) {
	input, err := c.input()
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	sig := dev.Sign(input)
	if sig == nil {
		return nil, fmt.Errorf("challenge: %w", key.ErrNoKey)
	}
	return sig, nil
}

// Verify checks an answer by the device's signing key. It returns [ErrSignature] or, for invalid
// fields, [ErrFormat]. The server itself must check that the nonce is its own and unused.
func (c Challenge) Verify(dev key.SigningPublic, answer []byte) error {
	input, err := c.input()
	if err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	if !dev.Verify(input, answer) {
		return fmt.Errorf("challenge: %w", ErrSignature)
	}
	return nil
}

func (c Challenge) input() ([]byte, error) {
	if len(c.Nonce) != ChallengeNonceSize || len(c.Role) == 0 || len(c.Role) > MaxRole {
		return nil, fmt.Errorf("nonce of %d bytes, role of %d: %w", len(c.Nonce), len(c.Role), ErrFormat)
	}
	for i := range len(c.Role) {
		if c.Role[i] < 'a' || c.Role[i] > 'z' {
			return nil, fmt.Errorf("role %q: %w", c.Role, ErrFormat)
		}
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	addAddress(b, c.Address)
	b.AddBytes(c.Device[:])
	addBytes8(b, []byte(c.Role))
	b.AddBytes(c.Nonce)
	body, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return signingInput(labelChallenge, body), nil
}
