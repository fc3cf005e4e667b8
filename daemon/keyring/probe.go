package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"

	"secmsg/crypto/key"
	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

// probeSize is the length of a probe's random content in bytes.
const probeSize = 32

// ProbeSeal seals random content for a message of this device to itself. It also returns
// the content, to compare it with the message that comes back.
//
// Probes have their own key, drawn when the keyring is opened and never stored, so no
// answer of the relay can make this device use a key of its account. A probe that comes
// back after a restart cannot be opened.
func (k *Keyring) ProbeSeal(tx *store.Tx, account store.AccountID, messageID [16]byte) (ciphertext, content []byte, err error) {
	d, err := k.device(tx, account)
	if err != nil {
		return nil, nil, fmt.Errorf("probe: %w", err)
	}
	content = make([]byte, probeSize)
	rand.Read(content) // never fails (crypto/rand, since Go 1.24)
	if ciphertext, err = k.probe.Seal(probeCell(d, messageID), content); err != nil {
		return nil, nil, fmt.Errorf("probe: %w", err)
	}
	return ciphertext, content, nil
}

// ProbeOpen opens a probe. It fails with [ErrUndecryptable].
func (k *Keyring) ProbeOpen(tx *store.Tx, account store.AccountID, messageID [16]byte, ciphertext []byte) ([]byte, error) {
	d, err := k.device(tx, account)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	content, err := k.probe.Open(probeCell(d, messageID), ciphertext)
	if errors.Is(err, key.ErrNoKey) {
		return nil, fmt.Errorf("probe: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("probe: %w: %w", ErrUndecryptable, err)
	}
	return content, nil
}

// probeCell binds a probe to the device and to the metadata that the relay sees.
func probeCell(d *device, messageID [16]byte) seal.Cell {
	row := append(d.party.Device[:], messageID[:]...)
	return seal.Cell{Table: "probe", Column: "sealed", Row: append(row, d.party.Address.String()...)}
}
