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

// Verifier checks the sender of a first message. Package trust implements it.
type Verifier interface {
	// AdmitInitial checks the credentials in a first message against the pin and returns
	// the sending device. It needs no network. Open returns its errors unchanged, and keeps
	// what it wrote even with an error (a changed key).
	AdmitInitial(tx *store.Tx, account store.AccountID, sender identity.Address, device key.DeviceID,
		chain [][]byte, manifest []byte, now time.Time) (identity.Device, error)
}

// Incoming is an envelope as delivered by the relay.
type Incoming struct {
	Account      store.AccountID
	Sender       identity.Address
	Peer         store.PeerID // 0: unknown; it is set when a first message has been opened
	SenderDevice key.DeviceID
	Class        ratchet.Class
	MessageID    [16]byte
	Ciphertext   []byte
}

// Opened is the result of Open.
type Opened struct {
	Plaintext []byte
	New       bool // it began a new session
	// Session is the id of the session that opened it; see Activate.
	Session [32]byte
	// Beside: the new session was begun although a confirmed one exists.
	Beside bool
	// Manifest is the newest manifest of its own account that the sender knows.
	Manifest ratchet.ManifestRef
}

// Open opens an envelope and advances its session, or begins a session if it is a first
// message. After an error the session is unchanged. It fails with [ErrUndecryptable],
// [ErrReplay], [ErrMalformed], and the errors of v.
func (k *Keyring) Open(tx *store.Tx, in Incoming, v Verifier, now time.Time) (Opened, error) {
	d, err := k.device(tx, in.Account)
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	m := ratchet.Meta{
		Class: in.Class, MessageID: in.MessageID, Recipient: d.party,
		Sender: ratchet.Party{Address: in.Sender, Device: in.SenderDevice},
	}
	ref := store.DeviceRef{Account: in.Account, Peer: in.Peer, Device: in.SenderDevice}
	before, err := loadSet(tx, ref)
	if err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	swept := before.Sweep(now)
	stored := storedKeys{tx: tx, ref: ref}
	after, res, err := swept.Open(m, in.Ciphertext, stored.of, now)
	switch {
	case stored.err != nil:
		return Opened{}, fmt.Errorf("open: %w", stored.err)
	case errors.Is(err, ratchet.ErrNoSession) && ratchet.IsInitial(in.Ciphertext):
		return k.accept(tx, d, in, m, v, before, swept, now)
	case err != nil && (len(in.Ciphertext) == 0 || in.Ciphertext[0] != ratchet.Version):
		return Opened{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	case err != nil:
		return Opened{}, openError(err)
	}
	if err := saveOpened(tx, ref, before, after, res, now); err != nil {
		return Opened{}, fmt.Errorf("open: %w", err)
	}
	return Opened{Plaintext: res.Plaintext, Session: res.Next.TranscriptHash(), Manifest: res.Manifest}, nil
}

// openError translates an error of the ratchet.
func openError(err error) error {
	switch {
	case errors.Is(err, ratchet.ErrReplay):
		return fmt.Errorf("%w: %w", ErrReplay, err)
	case errors.Is(err, ratchet.ErrFormat), errors.Is(err, ratchet.ErrVersion), errors.Is(err, ratchet.ErrParty):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return fmt.Errorf("%w: %w", ErrUndecryptable, err)
}

// saveOpened saves the changes made by opening a message.
func saveOpened(tx *store.Tx, ref store.DeviceRef, before, after ratchet.Set, res ratchet.OpenResult, now time.Time) error {
	if err := saveSet(tx, ref, before, after); err != nil {
		return err
	}
	id := res.Next.TranscriptHash()
	if res.Used != nil {
		if err := tx.DeleteSkipped(ref, id, res.Used.Epoch, res.Used.N); err != nil {
			return err
		}
	}
	for _, s := range res.Skipped {
		b := s.Key.Bytes()
		err := tx.AddSkipped(ref, id, store.SkippedRef{Epoch: s.Ref.Epoch, N: s.Ref.N, Stored: now}, b)
		clear(b)
		if err != nil {
			return err
		}
	}
	if len(res.Skipped) > 0 {
		return expireSkipped(tx, ref, res.Next, now)
	}
	return nil
}

// expireSkipped deletes the stored message keys of a session that have expired or exceed
// the limit.
func expireSkipped(tx *store.Tx, ref store.DeviceRef, s *ratchet.Session, now time.Time) error {
	id := s.TranscriptHash()
	rows, err := tx.SkippedRefs(ref, id)
	if err != nil {
		return err
	}
	refs := make([]ratchet.StoredRef, len(rows))
	for i, r := range rows {
		refs[i] = ratchet.StoredRef{Ref: ratchet.SkippedRef{Epoch: r.Epoch, N: r.N}, Stored: r.Stored}
	}
	for _, gone := range s.Expired(refs, now) {
		if err := tx.DeleteSkipped(ref, id, gone.Epoch, gone.N); err != nil {
			return err
		}
	}
	return nil
}

// storedKeys looks up stored message keys for the ratchet. The ratchet's interface has no
// error, so the first one is kept here.
type storedKeys struct {
	tx  *store.Tx
	ref store.DeviceRef
	err error
}

func (s *storedKeys) of(id [32]byte) ratchet.SkippedKeys { return sessionKeys{s, id} }

type sessionKeys struct {
	stored *storedKeys
	id     [32]byte
}

// Lookup implements ratchet.SkippedKeys.
func (s sessionKeys) Lookup(ref ratchet.SkippedRef) ([]byte, bool) {
	b, err := s.stored.tx.Skipped(s.stored.ref, s.id, ref.Epoch, ref.N)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) && s.stored.err == nil {
			s.stored.err = err
		}
		return nil, false
	}
	return b, true
}

// Activate makes a session the sending one, because the peer asked inside it for messages
// again, and so has lost the session that would be preferred. If the session has been
// deleted meanwhile, nothing changes. It reports whether the session replaced a confirmed
// one.
func (k *Keyring) Activate(tx *store.Tx, account store.AccountID, peer store.PeerID, device key.DeviceID, session [32]byte, now time.Time) (replaced bool, err error) {
	ref := store.DeviceRef{Account: account, Peer: peer, Device: device}
	before, err := loadSet(tx, ref)
	if err != nil {
		return false, fmt.Errorf("activate: %w", err)
	}
	after, err := before.Activate(session, now)
	if errors.Is(err, ratchet.ErrNoSession) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("activate: %w", err)
	}
	return ratchet.Replaced(before, after), saveSet(tx, ref, before, after)
}
