package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Bounds of the Argon2id parameters. They are read from a file before they can be authenticated:
// without bounds, whoever can write the file could make unlocking use up all memory or take for ever.
const (
	minArgonTime    = 1
	maxArgonTime    = 64
	maxArgonMemory  = 1 << 20 // KiB: 1 GiB
	minArgonPerLane = 8       // KiB per lane (RFC 9106, section 3.1)
	maxArgonThreads = 64

	argonSaltSize = 16 // RFC 9106, section 3.1
	argonKeySize  = 32

	wrapHead = 1 + 4 + 4 + 1 + argonSaltSize + CommitmentSize
	// WrappedSize is the length of a wrapped storage key in bytes.
	WrappedSize = wrapHead + StorageKeySize + chacha20poly1305.Overhead
	// MaxPassphrase bounds a passphrase in bytes.
	MaxPassphrase = 1024
)

// Argon2Params are the cost parameters of Argon2id (RFC 9106). They are stored with the wrapped key, so
// that the defaults can be raised later.
type Argon2Params struct {
	Time    uint32 // passes, 1 to 64
	Memory  uint32 // KiB, at least 8 per lane, at most 1 GiB
	Threads uint8  // lanes, 1 to 64
}

// DefaultArgon2Params returns RFC 9106's second recommended option: 64 MiB, which a small machine has,
// three passes, four lanes.
func DefaultArgon2Params() Argon2Params { return Argon2Params{Time: 3, Memory: 64 << 10, Threads: 4} }

func (p Argon2Params) check() error {
	if p.Time < minArgonTime || p.Time > maxArgonTime || p.Threads < 1 || p.Threads > maxArgonThreads ||
		p.Memory < minArgonPerLane*uint32(p.Threads) || p.Memory > maxArgonMemory {
		return fmt.Errorf("argon2id with %d passes, %d KiB, %d lanes: %w", p.Time, p.Memory, p.Threads, ErrFormat)
	}
	return nil
}

// WrapStorageKey seals a storage key under the bytes of a passphrase. It returns [ErrFormat] for
// parameters out of bounds or a passphrase that is empty or longer than [MaxPassphrase].
func WrapStorageKey(k StorageKey, passphrase []byte, p Argon2Params) ([]byte, error) {
	secret := k.s.Get()
	if secret == nil {
		return nil, fmt.Errorf("wrap storage key: %w", key.ErrNoKey)
	}
	if err := checkPassphrase(passphrase); err != nil {
		return nil, fmt.Errorf("wrap storage key: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("wrap storage key: %w", err)
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, WrappedSize))
	b.AddUint8(version)
	b.AddUint32(p.Time)
	b.AddUint32(p.Memory)
	b.AddUint8(p.Threads)
	salt := make([]byte, argonSaltSize)
	rand.Read(salt) // crypto/rand: never fails since Go 1.24
	b.AddBytes(salt)
	head, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("wrap storage key: %w", err)
	}
	d, err := stretch(passphrase, salt, p)
	if err != nil {
		return nil, fmt.Errorf("wrap storage key: %w", err)
	}
	defer d.wipe()
	aead, err := d.aead()
	if err != nil {
		return nil, fmt.Errorf("wrap storage key: %w", err)
	}
	head = append(head, d.commitment()...)
	return aead.Seal(head, d.nonce(), secret[:], head), nil
}

// UnwrapStorageKey opens the output of [WrapStorageKey]. It returns [ErrPassphrase], [ErrFormat] for
// anything of another form or with parameters out of bounds, and [ErrOpen] if the passphrase is right
// but the rest was changed.
func UnwrapStorageKey(wrapped, passphrase []byte) (StorageKey, error) {
	k, err := unwrap(wrapped, passphrase)
	if err != nil {
		return StorageKey{}, fmt.Errorf("unwrap storage key: %w", err)
	}
	return k, nil
}

func unwrap(wrapped, passphrase []byte) (StorageKey, error) {
	if err := checkPassphrase(passphrase); err != nil {
		return StorageKey{}, ErrPassphrase // WrapStorageKey accepts no such passphrase
	}
	var (
		in               = cryptobyte.String(wrapped)
		v                uint8
		p                Argon2Params
		salt, commitment []byte
	)
	if len(wrapped) != WrappedSize || !in.ReadUint8(&v) || v != version ||
		!in.ReadUint32(&p.Time) || !in.ReadUint32(&p.Memory) || !in.ReadUint8(&p.Threads) ||
		!in.ReadBytes(&salt, argonSaltSize) || !in.ReadBytes(&commitment, CommitmentSize) {
		return StorageKey{}, fmt.Errorf("%d bytes: %w", len(wrapped), ErrFormat)
	}
	if err := p.check(); err != nil {
		return StorageKey{}, err
	}
	d, err := stretch(passphrase, salt, p)
	if err != nil {
		return StorageKey{}, err
	}
	defer d.wipe()
	if subtle.ConstantTimeCompare(d.commitment(), commitment) != 1 {
		return StorageKey{}, ErrPassphrase
	}
	aead, err := d.aead()
	if err != nil {
		return StorageKey{}, err
	}
	secret, err := aead.Open(nil, d.nonce(), in, wrapped[:wrapHead])
	if err != nil {
		return StorageKey{}, ErrOpen
	}
	defer clear(secret)
	return ParseStorageKey(secret)
}

// stretch derives key, nonce and commitment from a passphrase. The salt is new for every wrap, and so
// are key and nonce. The commitment distinguishes a wrong passphrase from a damaged file, and prevents
// a file that opens under many passphrases.
func stretch(passphrase, salt []byte, p Argon2Params) (derived, error) {
	ikm := argon2.IDKey(passphrase, salt, p.Time, p.Memory, p.Threads, argonKeySize)
	defer clear(ikm)
	return hkdf.Key(sha512.New, ikm, salt, labelPassphrase,
		chacha20poly1305.KeySize+chacha20poly1305.NonceSize+CommitmentSize)
}

func checkPassphrase(passphrase []byte) error {
	if len(passphrase) == 0 || len(passphrase) > MaxPassphrase {
		return fmt.Errorf("passphrase of %d bytes: %w", len(passphrase), ErrFormat)
	}
	return nil
}
