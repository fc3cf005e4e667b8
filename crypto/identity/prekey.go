package identity

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// PrekeyKind is the purpose of a prekey. The numbers are stable, because they are signed and stored.
type PrekeyKind uint8

// The kinds of prekeys.
const (
	// SignedExchange is the X25519 prekey that a device replaces weekly.
	SignedExchange PrekeyKind = 1
	// LastResortKEM is the ML-KEM-768 prekey that is used when the one-time ones have run out. It is
	// replaced weekly.
	LastResortKEM PrekeyKind = 2
	// OneTimeExchange is an X25519 prekey that the server hands out once.
	OneTimeExchange PrekeyKind = 3
	// OneTimeKEM is an ML-KEM-768 prekey that the server hands out once.
	OneTimeKEM PrekeyKind = 4
)

// Sizes and lifetimes of prekeys. A prekey is never signed for longer than its private half is kept.
// The private half of a signed or last-resort prekey is kept for PrekeyKeep after the replacement of
// the prekey. A one-time private half is kept for PrekeyKeep after its signed lifetime, because the key
// may be fetched in its last second, and the message that uses it may be under way for that long (SPEC
// "Prekeys").
const (
	// PrekeyLifetime is the signed lifetime of a prekey: how long a device may be offline and still be
	// reached by a peer that has no session with it.
	PrekeyLifetime = 45 * day
	// PrekeyReplaceAfter is the age at which an online device replaces its signed prekey and
	// last-resort key.
	PrekeyReplaceAfter = 7 * day
	// PrekeyKeep is how long a private half is kept after its replacement: the 30 days for which a
	// mailbox keeps a message, and half as long again for a sender that was offline after sealing it.
	PrekeyKeep = 45 * day
	// OneTimeKeep is how long an unused one-time private half is kept.
	OneTimeKeep = PrekeyLifetime + PrekeyKeep
	// PrekeySkew is the tolerated difference between the clocks of a device and of peers that check its
	// prekeys.
	PrekeySkew = day

	prekeyHead = 1 + 1 + 4 + 8
	// ExchangePrekeySize is the length of an encoded X25519 prekey in bytes.
	ExchangePrekeySize = prekeyHead + key.ExchangePublicSize + key.SignatureSize
	// KEMPrekeySize is the length of an encoded ML-KEM-768 prekey in bytes.
	KEMPrekeySize = prekeyHead + key.KEMPublicSize + key.SignatureSize
)

// Valid reports whether k is one of the four kinds.
func (k PrekeyKind) Valid() bool { return SignedExchange <= k && k <= OneTimeKEM }

// IsKEM reports whether k is a kind of ML-KEM-768 prekey.
func (k PrekeyKind) IsKEM() bool { return k == LastResortKEM || k == OneTimeKEM }

// OneTime reports whether k is handed out once.
func (k PrekeyKind) OneTime() bool { return k == OneTimeExchange || k == OneTimeKEM }

// String returns the name of the kind.
func (k PrekeyKind) String() string {
	switch k {
	case SignedExchange:
		return "signed exchange"
	case LastResortKEM:
		return "last-resort KEM"
	case OneTimeExchange:
		return "one-time exchange"
	case OneTimeKEM:
		return "one-time KEM"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Prekey is a public key that a device leaves at the server, so that others can start a session with it
// while it is offline.
type Prekey struct {
	Kind      PrekeyKind
	ID        uint32             // not zero; chosen by the device, unique per device and kind
	Exchange  key.ExchangePublic // zero for KEM kinds
	KEM       key.KEMPublic      // zero for exchange kinds
	Expires   time.Time          // whole seconds
	Signature []byte             // by the device's signing key
}

// SignPrekey returns p signed by the signing key of a device of account addr. Kind, ID, Expires and the
// key of that kind must be set. Expires is cut to whole seconds.
func SignPrekey(dev key.SigningPrivate, id key.DeviceID, addr Address, p Prekey) (Prekey, error) {
	p.Expires = seconds(p.Expires)
	input, err := p.input(addr, id)
	if err != nil {
		return Prekey{}, fmt.Errorf("sign prekey: %w", err)
	}
	if p.Signature = dev.Sign(input); p.Signature == nil {
		return Prekey{}, fmt.Errorf("sign prekey: %w", key.ErrNoKey)
	}
	return p, nil
}

// Verify checks that dev, the signing key of device id, signed the prekey for account addr, that it has
// not expired, and that it is not signed for longer than its private half is kept. It returns
// [ErrFormat], [ErrSignature], [ErrExpired] and [ErrNotYetValid]. It does not check that dev belongs to
// addr; that follows from a manifest.
func (p Prekey) Verify(dev key.SigningPublic, id key.DeviceID, addr Address, now time.Time) error {
	input, err := p.input(addr, id)
	if err != nil {
		return fmt.Errorf("prekey: %w", err)
	}
	if !dev.Verify(input, p.Signature) {
		return fmt.Errorf("%s prekey %d: %w", p.Kind, p.ID, ErrSignature)
	}
	if now.After(p.Expires) {
		return fmt.Errorf("%s prekey %d: %w", p.Kind, p.ID, ErrExpired)
	}
	if p.Expires.After(now.Add(PrekeyLifetime + PrekeySkew)) {
		return fmt.Errorf("%s prekey %d expires too late: %w", p.Kind, p.ID, ErrNotYetValid)
	}
	return nil
}

// KeyBytes returns the encoded key of the prekey's kind.
func (p Prekey) KeyBytes() []byte {
	if p.Kind.IsKEM() {
		return p.KEM.Bytes()
	}
	return p.Exchange.Bytes()
}

// Marshal returns the canonical encoding of a signed prekey, or [ErrFormat] if p is incomplete.
func (p Prekey) Marshal() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("marshal prekey: %w", err)
	}
	if len(p.Signature) != key.SignatureSize {
		return nil, fmt.Errorf("marshal prekey without signature: %w", ErrFormat)
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	b.AddUint8(uint8(p.Kind))
	b.AddUint32(p.ID)
	addTime(b, p.Expires)
	b.AddBytes(p.KeyBytes())
	b.AddBytes(p.Signature)
	return b.Bytes()
}

// ParsePrekey parses the output of Marshal. It does not check the signature; Verify does. It returns
// [ErrFormat] or an error of package key.
func ParsePrekey(data []byte) (Prekey, error) {
	var (
		in      = cryptobyte.String(data)
		p       Prekey
		v, kind uint8
		pub     []byte
	)
	malformed := fmt.Errorf("prekey of %d bytes: %w", len(data), ErrFormat)
	if !in.ReadUint8(&v) || v != version || !in.ReadUint8(&kind) ||
		!in.ReadUint32(&p.ID) || !readTime(&in, &p.Expires) {
		return Prekey{}, malformed
	}
	p.Kind = PrekeyKind(kind)
	size := key.ExchangePublicSize
	if p.Kind.IsKEM() {
		size = key.KEMPublicSize
	}
	if !in.ReadBytes(&pub, size) || len(in) != key.SignatureSize {
		return Prekey{}, malformed
	}
	p.Signature = append([]byte(nil), in...)
	var err error
	if p.Kind.IsKEM() {
		p.KEM, err = key.ParseKEMPublic(pub)
	} else {
		p.Exchange, err = key.ParseExchangePublic(pub)
	}
	if err != nil {
		return Prekey{}, fmt.Errorf("prekey: %w", err)
	}
	if err := p.check(); err != nil {
		return Prekey{}, fmt.Errorf("prekey: %w", err)
	}
	return p, nil
}

// check returns nil if kind, id and key are consistent.
func (p Prekey) check() error {
	if !p.Kind.Valid() || p.ID == 0 || p.KEM.IsZero() == p.Kind.IsKEM() || p.Exchange.IsZero() != p.Kind.IsKEM() {
		return fmt.Errorf("%s prekey %d: %w", p.Kind, p.ID, ErrFormat)
	}
	return nil
}

// input returns the signed bytes.
func (p Prekey) input(addr Address, dev key.DeviceID) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	b.AddUint8(uint8(p.Kind))
	addAddress(b, addr)
	b.AddBytes(dev[:])
	b.AddUint32(p.ID)
	addTime(b, p.Expires)
	b.AddBytes(p.KeyBytes()) // last; its length follows from the kind
	body, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return signingInput(labelPrekey, body), nil
}
