package ratchet

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/key"
)

// SkippedRef names a skipped message key within its session.
type SkippedRef struct {
	Epoch uint32 // receiving chain, from 1
	N     uint32 // number of the message in the chain, from 0
}

// MessageKey opens exactly one message. It prints as "(redacted)"; Bytes is for sealed storage.
type MessageKey struct {
	key.Redacted
	k *secret
}

func newMessageKey(k secret) MessageKey { return MessageKey{k: &k} }

// Bytes returns a copy of the 32 bytes of the key, or nil for a zero key. The caller clears it.
func (m MessageKey) Bytes() []byte {
	if m.k == nil {
		return nil
	}
	return bytes.Clone(m.k[:])
}

// SkippedKey is a message key to be stored until its message arrives or [Session.Expired] lists it.
type SkippedKey struct {
	Ref SkippedRef
	Key MessageKey
}

// SkippedKeys finds the stored message keys of one session.
type SkippedKeys interface {
	// Lookup returns the 32 bytes of the message key, or false if there is none. It is called at most
	// once per envelope, and only after a header of this session has opened.
	Lookup(ref SkippedRef) (messageKey []byte, ok bool)
}

// StoredRef describes a stored message key to [Session.Expired].
type StoredRef struct {
	Ref    SkippedRef
	Stored time.Time // when it was reported as skipped
}

// Epoch returns the number of the receiving chain, from 1, or 0 if nothing was opened yet. A stored key
// of epoch e is Epoch() - e ratchet steps old.
func (s *Session) Epoch() uint32 { return s.st.epoch }

// Expired returns the stored message keys to delete: those older than [SkippedLifetime], those of
// chains at least [SkippedSteps] back that are older than [SkippedMinimum], and the oldest beyond
// [MaxStoredKeys].
func (s *Session) Expired(stored []StoredRef, now time.Time) []SkippedRef {
	var gone []SkippedRef
	var kept []StoredRef
	for _, row := range stored {
		if expired(s.st.epoch, row.Ref.Epoch, now.Sub(row.Stored)) {
			gone = append(gone, row.Ref)
		} else {
			kept = append(kept, row)
		}
	}
	slices.SortFunc(kept, func(a, b StoredRef) int {
		return cmp.Or(cmp.Compare(a.Ref.Epoch, b.Ref.Epoch), cmp.Compare(a.Ref.N, b.Ref.N))
	})
	for _, row := range kept[:max(0, len(kept)-MaxStoredKeys)] {
		gone = append(gone, row.Ref)
	}
	return gone
}

// expired applies the age limits of skipped message keys.
func expired(current, epoch uint32, age time.Duration) bool {
	return age >= SkippedLifetime ||
		age >= SkippedMinimum && current >= epoch && current-epoch >= SkippedSteps
}

// trimOld keeps at most MaxOldHeaderKeys old chains. It first drops chains that wait for no message,
// oldest first; they are kept only to recognize duplicates. Only then it drops a chain that still waits
// for messages.
func (s *state) trimOld(now int64) {
	for len(s.old) > MaxOldHeaderKeys {
		i := slices.IndexFunc(s.old, func(o oldChain) bool {
			age := time.Unix(now, 0).Sub(time.Unix(o.closed, 0)) // saturates
			return o.missing == 0 || expired(s.epoch, o.epoch, age)
		})
		// This state owns the list, because the list grew in this step.
		s.old = slices.Delete(s.old, max(i, 0), max(i, 0)+1)
	}
}

// cloneOld copies the list before a change, because the previous state must not change.
func cloneOld(list []oldChain) []oldChain {
	return append(make([]oldChain, 0, len(list)+1), list...)
}

// lookUp asks the caller for a stored message key.
func lookUp(keys SkippedKeys, epoch, n uint32, res *OpenResult) (secret, error) {
	ref := SkippedRef{Epoch: epoch, N: n}
	if keys == nil {
		return secret{}, ErrReplay
	}
	b, ok := keys.Lookup(ref)
	if !ok {
		return secret{}, ErrReplay
	}
	if len(b) != secretSize {
		return secret{}, fmt.Errorf("stored message key of %d bytes: %w", len(b), ErrFormat)
	}
	res.Used = &ref
	return secret(b), nil
}

// less returns n - 1, or 0 for 0. The count is only a hint, because the caller expires keys.
func less(n uint32) uint32 { return max(n, 1) - 1 }
