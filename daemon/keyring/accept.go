package keyring

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
)

// accept begins a session from a first message: it admits the sender and uses the prekeys
// that the message names. Nothing is kept unless the message opens.
func (k *Keyring) accept(tx *store.Tx, d *device, in Incoming, m ratchet.Meta, v Verifier, before, swept ratchet.Set, now time.Time) (Opened, error) {
	header, err := ratchet.ParseInitial(in.Ciphertext)
	if err != nil {
		return Opened{}, openError(err)
	}
	if header.Device != in.SenderDevice {
		return Opened{}, fmt.Errorf("%w: it names another sending device", ErrMalformed)
	}
	hash, err := ratchet.HandshakeHash(m, in.Ciphertext)
	if err != nil {
		return Opened{}, openError(err)
	}
	seen, err := tx.HasHandshake(in.Account, hash)
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	if seen {
		// Its session was deleted. Another one would reuse keys.
		return Opened{}, fmt.Errorf("%w: its handshake was accepted before", ErrUndecryptable)
	}
	if err := checkOwnManifest(tx, in.Account, header); err != nil {
		return Opened{}, err
	}
	var out Opened
	var admission error
	err = tx.Sub(func() error {
		var device identity.Device
		if device, admission = v.AdmitInitial(tx, in.Account, in.Sender, header.Device, header.Chain, header.Manifest, now); admission != nil {
			return nil // return nil: if v recorded a changed key, keep it
		}
		var err error
		if in.Peer == 0 { // a stranger that the admission has made a peer
			if in.Peer, err = tx.FindPeer(in.Account, in.Sender.String()); err != nil {
				return fmt.Errorf("open: %w", err)
			}
		}
		out, err = k.acceptAdmitted(tx, d, in, m, header, device, hash, before, swept, now)
		return err
	})
	if err == nil {
		err = admission
	}
	if err != nil {
		return Opened{}, err
	}
	return out, nil
}

// checkOwnManifest accepts any version of the own manifest that lists this device.
func checkOwnManifest(tx *store.Tx, account store.AccountID, h *ratchet.InitialHeader) error {
	hash, listed, err := tx.ManifestHash(account, 0, h.ResponderVersion)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: it names an unknown manifest of this account", ErrUndecryptable)
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if hash != h.ResponderHash || !listed {
		return fmt.Errorf("%w: it names another manifest of this account", ErrUndecryptable)
	}
	return nil
}

func (k *Keyring) acceptAdmitted(tx *store.Tx, d *device, in Incoming, m ratchet.Meta, header *ratchet.InitialHeader,
	device identity.Device, hash [32]byte, before, swept ratchet.Set, now time.Time) (Opened, error) {
	if device.ID != header.Device {
		return Opened{}, fmt.Errorf("%w: sending device", ErrMalformed)
	}
	keys, err := responderKeys(tx, in.Account, header)
	if err != nil {
		return Opened{}, err
	}
	a, err := tx.Account(in.Account)
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	account, _, err := peerIdentity(tx, d, a, Target{Account: in.Account, Peer: in.Peer, Address: in.Sender})
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	res, err := ratchet.Accept(d.self(), keys, ratchet.VerifiedPeer{Party: m.Sender, Account: account}, m, in.Ciphertext, now)
	if err != nil {
		return Opened{}, openError(err)
	}
	after, err := swept.Add(res.Next, now)
	if err != nil {
		return Opened{}, openError(err)
	}
	ref := store.DeviceRef{Account: in.Account, Peer: in.Peer, Device: in.SenderDevice}
	if err := saveOpened(tx, ref, before, after, res, now); err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	if err := useKeys(tx, in.Account, header, hash); err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	return Opened{
		Plaintext: res.Plaintext, New: true, Session: res.Next.TranscriptHash(),
		Beside: ratchet.Begun(before), Manifest: res.Manifest,
	}, nil
}

// responderKeys loads the private halves of the prekeys named in a first message.
func responderKeys(tx *store.Tx, account store.AccountID, h *ratchet.InitialHeader) (ratchet.ResponderKeys, error) {
	var keys ratchet.ResponderKeys
	if h.KEMKind != identity.LastResortKEM && h.KEMKind != identity.OneTimeKEM {
		return keys, fmt.Errorf("%w: kind of KEM prekey", ErrMalformed)
	}
	signed, err := exchangePrekey(tx, account, identity.SignedExchange, h.SignedPrekey)
	if err != nil {
		return keys, err
	}
	keys.SignedPrekey = signed
	if h.HasOneTime {
		oneTime, err := exchangePrekey(tx, account, identity.OneTimeExchange, h.OneTime)
		if err != nil {
			return keys, err
		}
		keys.OneTime = &oneTime
	}
	p, err := prekey(tx, account, h.KEMKind, h.KEMPrekey)
	if err != nil {
		return keys, err
	}
	defer clear(p.Private)
	private, err := key.ParseKEMSeed(p.Private)
	if err != nil {
		return keys, fmt.Errorf("stored prekey: %w", err)
	}
	keys.KEM = ratchet.KEMPrekey{Kind: h.KEMKind, ID: h.KEMPrekey, Private: private}
	return keys, nil
}

func exchangePrekey(tx *store.Tx, account store.AccountID, kind identity.PrekeyKind, id uint32) (ratchet.ExchangePrekey, error) {
	p, err := prekey(tx, account, kind, id)
	if err != nil {
		return ratchet.ExchangePrekey{}, err
	}
	defer clear(p.Private)
	private, err := key.ParseExchangePrivate(p.Private)
	if err != nil {
		return ratchet.ExchangePrekey{}, fmt.Errorf("stored prekey: %w", err)
	}
	return ratchet.ExchangePrekey{ID: id, Private: private}, nil
}

func prekey(tx *store.Tx, account store.AccountID, kind identity.PrekeyKind, id uint32) (store.Prekey, error) {
	p, err := tx.Prekey(account, uint8(kind), id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Prekey{}, fmt.Errorf("%w: %s prekey %d was used or has expired", ErrUndecryptable, kind, id)
	}
	if err != nil {
		return store.Prekey{}, fmt.Errorf("open: %w", err)
	}
	return p, nil
}

// useKeys deletes the one-time keys that a handshake used. It remembers the handshake as
// long as any other private half that it used is kept.
func useKeys(tx *store.Tx, account store.AccountID, h *ratchet.InitialHeader, hash [32]byte) error {
	if h.HasOneTime {
		if err := tx.DeletePrekey(account, uint8(identity.OneTimeExchange), h.OneTime); err != nil {
			return err
		}
	}
	lastResort := h.KEMPrekey
	if h.KEMKind == identity.OneTimeKEM {
		if err := tx.DeletePrekey(account, uint8(identity.OneTimeKEM), h.KEMPrekey); err != nil {
			return err
		}
		lastResort = 0
	}
	return tx.AddHandshake(account, hash, h.SignedPrekey, lastResort)
}
