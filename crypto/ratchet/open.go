package ratchet

import (
	"fmt"
	"math"
	"time"

	"secmsg/crypto/key"
)

// OpenResult is the result of Open. The caller commits all of it in one transaction, or none. It prints
// as "(redacted)", because it contains plaintext.
type OpenResult struct {
	key.Redacted
	Next      *Session     // replaces the session that was called
	Plaintext []byte       `json:"-"` // without padding
	Manifest  ManifestRef  // the newest manifest of the sender's account that the sender knows
	Used      *SkippedRef  // the stored message key that was used; the caller deletes it
	Skipped   []SkippedKey // message keys that the caller stores
}

// work counts the receiver's work for an envelope, so that tests can bound it.
type work struct {
	trials int // header keys tried
	steps  int // chain steps
}

// Open opens an envelope from the peer. keys returns the message keys that earlier calls reported as
// skipped; nil means that there are none. The session is unchanged. After an error nothing is to be
// stored. Open returns
//   - [ErrNoSession]: the envelope belongs to another session, or to a chain long gone;
//   - [ErrReplay]: it is a duplicate, or arrived after its message key was dropped;
//   - [ErrOpen], [ErrSkip], [ErrPeer]: it belongs to this session but is invalid;
//   - [ErrParty], [ErrFormat], [ErrVersion]: it never belonged to this session.
func (s *Session) Open(m Meta, ciphertext []byte, keys SkippedKeys, now time.Time) (OpenResult, error) {
	next, res, err := s.st.open(m, ciphertext, keys, unix(now), &work{})
	if err != nil {
		return OpenResult{}, fmt.Errorf("open: %w", err)
	}
	res.Next = &Session{st: next}
	return res, nil
}

func (s *state) open(m Meta, ciphertext []byte, keys SkippedKeys, now int64, w *work) (*state, OpenResult, error) {
	if err := m.check(s.peer, s.self); err != nil {
		return nil, OpenResult{}, err
	}
	e, err := parseEnvelope(ciphertext)
	if err != nil {
		return nil, OpenResult{}, err
	}
	at, err := s.locate(m, e, w)
	if err != nil {
		return nil, OpenResult{}, err
	}
	h, err := parseHeader(at.header)
	if err != nil {
		return nil, OpenResult{}, fmt.Errorf("header: %w: %w", ErrPeer, err)
	}
	if e.kind == kindInitial && (h.offer != nil || h.answer != nil) {
		return nil, OpenResult{}, fmt.Errorf("KEM step in an initial message: %w", ErrPeer)
	}
	next := s.clone()
	var res OpenResult
	message, err := next.advance(at, h, keys, now, w, &res)
	if err != nil {
		return nil, OpenResult{}, err
	}
	if res.Plaintext, res.Manifest, err = e.openBody(m, message); err != nil {
		return nil, OpenResult{}, err
	}
	if err := next.offered(h.offer); err != nil {
		return nil, OpenResult{}, err
	}
	// An initiator has received an answer to its handshake; a responder has received an answer to its
	// chain.
	if s.role == roleInitiator || next.epoch > 1 {
		next.confirmed = true
		next.prelude = nil
	}
	next.trimOld(now)
	return next, res, nil
}

// chainPlace is the chain to which an envelope's header belongs.
type chainPlace struct {
	header []byte // decrypted
	next   bool   // a new chain
	old    int    // index of an old chain, or -1
}

// locate finds the header key that opens the envelope: that of the receiving chain, of the next chain,
// or of an old one, newest first.
func (s *state) locate(m Meta, e envelope, w *work) (chainPlace, error) {
	if e.kind == kindInitial && (s.role != roleResponder ||
		handshakeHash(m.Sender, m.Recipient, e.prelude) != s.handshake) {
		return chainPlace{}, ErrNoSession
	}
	try := func(k secret) ([]byte, bool) {
		w.trials++
		return e.openHeader(k)
	}
	if s.epoch > 0 {
		if b, ok := try(s.recvHeader); ok {
			return chainPlace{header: b, old: -1}, nil
		}
	}
	if !s.turn {
		if b, ok := try(s.recvHeaderNext); ok {
			return chainPlace{header: b, next: true, old: -1}, nil
		}
	}
	for i := len(s.old) - 1; i >= 0; i-- {
		if b, ok := try(s.old[i].header); ok {
			return chainPlace{header: b, old: i}, nil
		}
	}
	return chainPlace{}, ErrNoSession
}

// advance moves the state to the message's key and returns the key.
func (s *state) advance(at chainPlace, h header, keys SkippedKeys, now int64, w *work, res *OpenResult) (secret, error) {
	switch {
	case at.old >= 0:
		chain := s.old[at.old]
		message, err := lookUp(keys, chain.epoch, h.number, res)
		if err != nil {
			return secret{}, err
		}
		s.old = cloneOld(s.old)
		s.old[at.old].missing = less(chain.missing)
		return message, nil
	case at.next:
		return s.enterChain(h, now, w, res)
	}
	if h.ratchet != s.remote {
		return secret{}, fmt.Errorf("ratchet key changed inside a chain: %w", ErrPeer)
	}
	if h.number < s.recvNumber {
		message, err := lookUp(keys, s.epoch, h.number, res)
		if err != nil {
			return secret{}, err
		}
		s.recvMissing = less(s.recvMissing)
		return message, nil
	}
	if skip := h.number - s.recvNumber; skip > MaxSkip {
		return secret{}, fmt.Errorf("%d messages: %w", skip, ErrSkip)
	}
	return s.stepTo(h.number, w, res)
}

// enterChain leaves the receiving chain, keeps the keys of its messages that have not arrived, and
// performs the receiving half of a ratchet step.
func (s *state) enterChain(h header, now int64, w *work, res *OpenResult) (secret, error) {
	if s.epoch == math.MaxUint32 {
		return secret{}, ErrExhausted
	}
	if s.epoch == 0 && h.previous != 0 || h.previous < s.recvNumber {
		return secret{}, fmt.Errorf("previous chain shrank: %w", ErrPeer)
	}
	skip := uint64(h.previous-s.recvNumber) + uint64(h.number)
	if skip > MaxSkip {
		return secret{}, fmt.Errorf("%d messages: %w", skip, ErrSkip)
	}
	if s.epoch > 0 {
		s.skipTo(h.previous, w, res)
		s.old = append(cloneOld(s.old), oldChain{
			epoch: s.epoch, header: s.recvHeader, missing: s.recvMissing, closed: now,
		})
	}
	if err := s.recvStep(h); err != nil {
		return secret{}, err
	}
	return s.stepTo(h.number, w, res)
}

// recvStep is the receiving half of a ratchet step.
func (s *state) recvStep(h header) error {
	own, err := key.ParseExchangePrivate(s.ratchetPrivate[:])
	if err != nil {
		return err
	}
	shared, err := exchange(own, h.ratchet)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	defer clear(shared)
	kem, err := s.answered(h.answer)
	if err != nil {
		return err
	}
	s.recvHeader = s.recvHeaderNext
	s.root, s.recvKey, s.recvHeaderNext, err = rootStep(s.root, shared, kem)
	if err != nil {
		return err
	}
	s.remote = h.ratchet
	s.recvNumber, s.recvMissing = 0, 0
	s.epoch++
	s.turn = true
	return nil
}

// stepTo skips to message n of the receiving chain and returns its key.
func (s *state) stepTo(n uint32, w *work, res *OpenResult) (message secret, err error) {
	if n == math.MaxUint32 {
		return secret{}, ErrExhausted // the counter could not be incremented
	}
	s.skipTo(n, w, res)
	w.steps++
	s.recvKey, message = chainStep(s.recvKey)
	s.recvNumber++
	return message, nil
}

// skipTo advances the receiving chain to message n and reports the skipped keys.
func (s *state) skipTo(n uint32, w *work, res *OpenResult) {
	for s.recvNumber < n {
		var message secret
		w.steps++
		s.recvKey, message = chainStep(s.recvKey)
		res.Skipped = append(res.Skipped, SkippedKey{
			Ref: SkippedRef{Epoch: s.epoch, N: s.recvNumber},
			Key: newMessageKey(message),
		})
		s.recvNumber++
		s.recvMissing++
	}
}
