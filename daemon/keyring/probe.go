package keyring

import (
	"crypto/rand"
	"fmt"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

const (
	// probeSize is the length of a probe's random content in bytes.
	probeSize = 32
	// labelProbe separates probes from everything else that could be sealed to
	// a device's exchange key.
	labelProbe = "secmsg v1 probe"
)

// ProbeSeal seals a random content to this device's own key, for a message to
// itself. It returns the content, to be compared with what comes back.
func (k *Keyring) ProbeSeal(tx *store.Tx, account store.AccountID, messageID [16]byte) (ciphertext, content []byte, err error) {
	d, err := k.device(tx, account)
	if err != nil {
		return nil, nil, fmt.Errorf("probe: %w", err)
	}
	content = make([]byte, probeSize)
	rand.Read(content) // never fails (crypto/rand, since Go 1.24)
	ciphertext, err = seal.SealProbe(d.exchange.Public(), probeAD(d, messageID), content)
	if err != nil {
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
	content, err := seal.OpenProbe(d.exchange, probeAD(d, messageID), ciphertext)
	if err != nil {
		return nil, fmt.Errorf("probe: %w: %w", ErrUndecryptable, err)
	}
	return content, nil
}

func probeAD(d *device, messageID [16]byte) []byte {
	ad := append([]byte(labelProbe), d.party.Device[:]...)
	ad = append(ad, messageID[:]...)
	return append(ad, d.party.Address.String()...)
}
