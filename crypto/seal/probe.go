package seal

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"

	"secmsg/crypto/key"
)

// ProbeOverhead is what [SealProbe] adds in bytes: version, encapsulated key
// and tag. The HPKE suite is DHKEM(X25519, HKDF-SHA256), which is not
// post-quantum: a probe holds random bytes that no one needs to keep secret.
const ProbeOverhead = 1 + key.ExchangePublicSize + TagSize

// SealProbe seals a probe to a device's own exchange key. ad binds what the
// relay sees of the envelope.
func SealProbe(own key.ExchangePublic, ad, plaintext []byte) ([]byte, error) {
	if own.IsZero() {
		return nil, fmt.Errorf("seal probe: %w", key.ErrNoKey)
	}
	pk, err := probeKEM().NewPublicKey(own.Bytes())
	if err != nil {
		return nil, fmt.Errorf("seal probe: %w", ErrFormat)
	}
	sealed, err := hpkeSeal(pk, labelProbe, ad, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal probe: %w", err)
	}
	return sealed, nil
}

// OpenProbe opens what [SealProbe] made with the same ad. Anybody who knows the
// public key can make one: the caller compares the plaintext with what it sent.
// It fails with [ErrFormat], [ErrOpen] and [key.ErrNoKey].
func OpenProbe(own key.ExchangePrivate, ad, sealed []byte) ([]byte, error) {
	if own.IsZero() {
		return nil, fmt.Errorf("open probe: %w", key.ErrNoKey)
	}
	seed := own.Seed()
	defer clear(seed)
	sk, err := probeKEM().NewPrivateKey(seed)
	if err != nil {
		return nil, fmt.Errorf("open probe: %w", ErrFormat)
	}
	plaintext, err := hpkeOpen(sk, ProbeOverhead, labelProbe, ad, sealed)
	if err != nil {
		return nil, fmt.Errorf("open probe: %w", err)
	}
	return plaintext, nil
}

func probeKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// hpkeSeal returns version || encapsulated key || ciphertext, with a new
// encapsulation for every message (RFC 9180, 6.1, mode base).
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

// hpkeOpen opens what hpkeSeal made with a KEM of the overhead given.
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
