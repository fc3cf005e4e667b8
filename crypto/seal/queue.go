package seal

import (
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"slices"

	"secmsg/crypto/key"
)

// The HPKE suite of the queue (RFC 9180). The KEM is X-Wing, ML-KEM-768 with X25519, because the queue
// of a locked profile may be recorded like any message.
const (
	// QueuePublicSize is the length of a queue key's public half in bytes.
	QueuePublicSize = key.KEMPublicSize + key.ExchangePublicSize
	// QueueSeedSize is the length of its private half.
	QueueSeedSize = 32
	// QueueOverhead is the length that [QueuePublic.Seal] adds: version, encapsulated key and tag.
	QueueOverhead = 1 + key.KEMCiphertextSize + key.ExchangePublicSize + TagSize
)

// QueuePublic seals the entries of a locked profile's queue. It is stored in clear with the database;
// only the unlocked profile can open them.
type QueuePublic struct {
	_  [0]func() // == would compare pointers
	pk hpke.PublicKey
}

// ParseQueuePublic parses the public half, or returns [ErrFormat].
func ParseQueuePublic(b []byte) (QueuePublic, error) {
	if len(b) != QueuePublicSize {
		return QueuePublic{}, fmt.Errorf("queue key of %d bytes: %w", len(b), ErrFormat)
	}
	pk, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return QueuePublic{}, fmt.Errorf("queue key: %w", ErrFormat)
	}
	return QueuePublic{pk: pk}, nil
}

// Bytes returns the encoding of the key, or nil for a zero key.
func (p QueuePublic) Bytes() []byte {
	if p.pk == nil {
		return nil
	}
	return p.pk.Bytes()
}

// Seal seals plaintext for a cell of the database: version || encapsulated key || ciphertext. Whoever
// has the public half can do this: the queue is confidential, but its authenticity rests on the
// database file (SPEC "At rest").
func (p QueuePublic) Seal(cell Cell, plaintext []byte) ([]byte, error) {
	if p.pk == nil {
		return nil, fmt.Errorf("seal for the queue: %w", key.ErrNoKey)
	}
	ad, err := cell.ad()
	if err != nil {
		return nil, fmt.Errorf("seal for the queue: %w", err)
	}
	sealed, err := hpkeSeal(p.pk, labelQueue, ad, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal for the queue: %w", err)
	}
	return sealed, nil
}

// QueuePrivate opens the entries of the queue. Copies share one secret.
type QueuePrivate struct {
	key.Redacted
	s key.Hidden[queueSecret]
}

type queueSecret struct {
	sk   hpke.PrivateKey
	seed [QueueSeedSize]byte
}

// GenerateQueue makes a new random key.
func GenerateQueue() (QueuePrivate, error) {
	var seed [QueueSeedSize]byte
	defer clear(seed[:])
	rand.Read(seed[:]) // crypto/rand: never fails since Go 1.24
	return ParseQueueSeed(seed[:])
}

// ParseQueueSeed returns the key of a 32-byte seed, or [ErrFormat].
func ParseQueueSeed(seed []byte) (QueuePrivate, error) {
	if len(seed) != QueueSeedSize {
		return QueuePrivate{}, fmt.Errorf("queue seed of %d bytes: %w", len(seed), ErrFormat)
	}
	sk, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		return QueuePrivate{}, fmt.Errorf("queue seed: %w", ErrFormat)
	}
	return QueuePrivate{s: key.Hide(&queueSecret{sk: sk, seed: [QueueSeedSize]byte(seed)})}, nil
}

// IsZero reports whether q has no secret or was wiped.
func (q QueuePrivate) IsZero() bool { return q.s.Get() == nil }

// Public returns the public half, or a zero key if q is zero or wiped.
func (q QueuePrivate) Public() QueuePublic {
	s := q.s.Get()
	if s == nil {
		return QueuePublic{}
	}
	return QueuePublic{pk: s.sk.PublicKey()}
}

// Seed returns a copy of the seed for sealed storage; the caller clears it. It returns nil for a zero
// or wiped key.
func (q QueuePrivate) Seed() []byte {
	s := q.s.Get()
	if s == nil {
		return nil
	}
	return slices.Clone(s.seed[:])
}

// Wipe overwrites the seed and drops the key for all copies of q.
func (q QueuePrivate) Wipe() {
	if s := q.s.Get(); s != nil {
		clear(s.seed[:])
	}
	q.s.Drop()
}

// Open opens the output of [QueuePublic.Seal] for the same cell. It returns [ErrFormat], [ErrOpen] and
// [key.ErrNoKey].
func (q QueuePrivate) Open(cell Cell, sealed []byte) ([]byte, error) {
	s := q.s.Get()
	if s == nil {
		return nil, fmt.Errorf("open queue: %w", key.ErrNoKey)
	}
	ad, err := cell.ad()
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	plaintext, err := hpkeOpen(s.sk, QueueOverhead, labelQueue, ad, sealed)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	return plaintext, nil
}

// hpkeSeal returns version || encapsulated key || ciphertext, with a new encapsulation for every
// message (RFC 9180, section 6.1, mode base).
func hpkeSeal(pk hpke.PublicKey, info string, ad, plaintext []byte) ([]byte, error) {
	enc, sender, err := hpke.NewSender(pk, hpke.HKDFSHA512(), hpke.ChaCha20Poly1305(), []byte(info))
	if err != nil {
		return nil, err
	}
	ct, err := sender.Seal(ad, plaintext)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 1+len(enc)+len(ct))
	out = append(out, version)
	out = append(out, enc...)
	return append(out, ct...), nil
}

// hpkeOpen opens the output of hpkeSeal for a KEM with the given overhead.
func hpkeOpen(sk hpke.PrivateKey, overhead int, info string, ad, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, fmt.Errorf("%d bytes: %w", len(sealed), ErrFormat)
	}
	enc, ct := sealed[1:overhead-TagSize], sealed[overhead-TagSize:]
	r, err := hpke.NewRecipient(enc, sk, hpke.HKDFSHA512(), hpke.ChaCha20Poly1305(), []byte(info))
	if err != nil {
		return nil, ErrOpen
	}
	plaintext, err := r.Open(ad, ct)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}
