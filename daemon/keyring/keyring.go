package keyring

import (
	"context"
	"crypto/hkdf"
	"crypto/sha512"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

const (
	// labelIndex derives the key of the index of sealed values, so that the storage key
	// itself is used only for sealing (crypto/SPEC.md, "At rest").
	labelIndex = "secmsg v1 storage index"
	indexSize  = 32
)

// Options are the optional parameters of Open. The zero value is usable.
type Options struct {
	Logger *slog.Logger
	// Argon2 is the cost of deriving a key from a passphrase; zero:
	// seal.DefaultArgon2Params.
	Argon2 seal.Argon2Params
	// PrekeyRenew is the age at which signed prekeys are replaced; 0: a week.
	PrekeyRenew time.Duration
}

// Keyring holds the keys of a profile.
type Keyring struct {
	// constant
	st      *store.Store
	dir     string
	logger  *slog.Logger
	argon2  seal.Argon2Params
	renewal time.Duration
	stock   limits
	probe   seal.StorageKey // key of this run; see ProbeSeal

	mu      sync.RWMutex
	mode    mode            // guarded by mu
	storage seal.StorageKey // guarded by mu; zero while locked
	index   []byte          // guarded by mu

	devices deviceCache
}

// Open finds the storage key of the profile in dir. A profile without a passphrase is
// unlocked at once; one with a passphrase needs Unlock, and a new one Create. It fails with
// [ErrKeyFile].
func Open(st *store.Store, dir string, o Options) (*Keyring, error) {
	k := &Keyring{st: st, dir: dir, logger: o.Logger, argon2: o.Argon2, renewal: o.PrekeyRenew, stock: stockLimits(), probe: seal.NewStorageKey()}
	if k.logger == nil {
		k.logger = slog.New(slog.DiscardHandler)
	}
	if k.argon2 == (seal.Argon2Params{}) {
		k.argon2 = seal.DefaultArgon2Params()
	}
	if k.renewal <= 0 {
		k.renewal = identity.PrekeyReplaceAfter
	}
	m, raw, err := readKeyFile(dir)
	if err != nil {
		return nil, err
	}
	k.mode = m
	switch m {
	case modePlain:
		defer clear(raw)
		key, err := seal.ParseStorageKey(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
		}
		return k, k.use(key)
	case modeNew:
		return k, k.checkNew()
	}
	return k, nil
}

// checkNew rejects a database whose storage key is missing.
func (k *Keyring) checkNew() error {
	return k.st.View(context.Background(), func(tx *store.Tx) error {
		_, err := tx.ProfileClear(profileQueuePublic)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("open keyring: %w", err)
		}
		return fmt.Errorf("%w: %s and %s are both missing", ErrKeyFile, plainFile, wrappedFile)
	})
}

// New reports whether the profile has no storage key yet.
func (k *Keyring) New() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.mode == modeNew
}

// Protected reports whether the profile is protected by a passphrase.
func (k *Keyring) Protected() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.mode == modeWrapped
}

// Locked reports whether a passphrase is needed to read sealed values.
func (k *Keyring) Locked() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.mode == modeWrapped && k.storage.IsZero()
}

// Create creates the storage key of a new profile. With an empty passphrase the key is
// stored in a file that only its user can read. It fails with [ErrExists].
func (k *Keyring) Create(passphrase []byte) error {
	k.mu.Lock()
	if k.mode != modeNew {
		k.mu.Unlock()
		return ErrExists
	}
	key := seal.NewStorageKey()
	m, err := writeKeyFile(k.dir, key, passphrase, k.argon2)
	if err == nil {
		k.mode = m
	}
	k.mu.Unlock()
	if err != nil {
		return fmt.Errorf("create storage key: %w", err)
	}
	return k.use(key)
}

// Unlock opens the storage key with a passphrase. It fails with [ErrPassphrase],
// [ErrNoPassphrase] or [ErrKeyFile]. An unlocked profile stays unlocked, but the passphrase
// is still checked.
func (k *Keyring) Unlock(passphrase []byte) error {
	if !k.Protected() {
		return ErrNoPassphrase
	}
	_, wrapped, err := readKeyFile(k.dir)
	if err != nil {
		return err
	}
	key, err := seal.UnwrapStorageKey(wrapped, passphrase)
	if errors.Is(err, seal.ErrPassphrase) {
		return ErrPassphrase
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return k.use(key)
}

// Lock wipes all keys. It fails with [ErrNoPassphrase] for a profile without a passphrase,
// for which locking would protect nothing.
func (k *Keyring) Lock() error {
	if !k.Protected() {
		return ErrNoPassphrase
	}
	k.st.SetBox(nil)
	k.mu.Lock()
	k.storage.Wipe()
	clear(k.index)
	k.storage, k.index = seal.StorageKey{}, nil
	k.mu.Unlock()
	// Last, because a transaction that is still running could have loaded a device until
	// now.
	k.devices.clear()
	return nil
}

// Discard undoes Create for a profile without accounts, so that the next Create may choose
// another passphrase.
func (k *Keyring) Discard() error {
	err := k.st.Update(context.Background(), func(tx *store.Tx) error {
		refs, err := tx.AccountRefs()
		if err != nil {
			return err
		}
		if len(refs) > 0 {
			return fmt.Errorf("discard storage key: %w", ErrExists)
		}
		return tx.ClearProfile()
	})
	if err != nil {
		return err
	}
	k.st.SetBox(nil)
	k.devices.clear()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.storage.Wipe()
	clear(k.index)
	k.storage, k.index, k.mode = seal.StorageKey{}, nil, modeNew
	return removeKeyFiles(k.dir)
}

// use installs a storage key, after checking that the database was sealed with it.
func (k *Keyring) use(key seal.StorageKey) error {
	raw := key.Bytes()
	defer clear(raw)
	index, err := hkdf.Key(sha512.New, raw, nil, labelIndex, indexSize)
	if err != nil {
		return fmt.Errorf("index key: %w", err)
	}
	k.mu.Lock()
	if !k.storage.IsZero() {
		k.mu.Unlock()
		key.Wipe()
		return nil
	}
	k.storage, k.index = key, index
	k.mu.Unlock()
	k.st.SetBox(box{k})
	if err := k.ensureQueue(); err != nil {
		k.st.SetBox(nil)
		k.mu.Lock()
		k.storage.Wipe()
		k.storage, k.index = seal.StorageKey{}, nil
		k.mu.Unlock()
		if errors.Is(err, store.ErrCorrupt) {
			return fmt.Errorf("%w: it belongs to another profile: %w", ErrKeyFile, err)
		}
		return err
	}
	return nil
}
