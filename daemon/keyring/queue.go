package keyring

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

// Keys of the queue key's halves in the profile.
const (
	profileQueuePublic = "queue public"
	profileQueueSeed   = "queue seed"
)

// ensureQueue creates a profile's queue key, or opens the existing one. With the wrong
// storage key that fails with store.ErrCorrupt.
func (k *Keyring) ensureQueue() error {
	return k.st.Update(context.Background(), func(tx *store.Tx) error {
		seed, err := tx.Profile(profileQueueSeed)
		clear(seed)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		private, err := seal.GenerateQueue()
		if err != nil {
			return fmt.Errorf("queue key: %w", err)
		}
		defer private.Wipe()
		seed = private.Seed()
		defer clear(seed)
		if err := tx.SetProfile(profileQueueSeed, seed); err != nil {
			return err
		}
		return tx.SetProfileClear(profileQueuePublic, private.Public().Bytes())
	})
}

// QueueSeal seals a send that is queued while the profile is locked. It needs no secret.
func (k *Keyring) QueueSeal(tx *store.Tx, account store.AccountID, plaintext []byte) ([]byte, error) {
	b, err := tx.ProfileClear(profileQueuePublic)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	public, err := seal.ParseQueuePublic(b)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	return public.Seal(queueCell(account), plaintext)
}

// QueueOpen opens a value of QueueSeal for the same account. It fails with store.ErrLocked
// while the profile is locked.
func (k *Keyring) QueueOpen(tx *store.Tx, account store.AccountID, sealed []byte) ([]byte, error) {
	seed, err := tx.Profile(profileQueueSeed)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	defer clear(seed)
	private, err := seal.ParseQueueSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	defer private.Wipe()
	return private.Open(queueCell(account), sealed)
}

func queueCell(account store.AccountID) seal.Cell {
	return seal.Cell{Table: "locked_queue", Column: "sealed", Row: []byte(strconv.FormatInt(int64(account), 10))}
}
