package ratchet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Entry is a session in a set, with the set's information about it. The caller stores a row for each,
// named by the session's transcript hash.
type Entry struct {
	Session *Session
	Active  bool      // the session that sends
	Used    bool      // a message from the peer was opened with it
	Until   time.Time // when a previous session is deleted; zero if not yet known
}

// Set holds the sessions with one device of a peer: one that is active and sends, and at most
// [MaxPrevious] that only receive. Like a Session it is immutable: methods return the next set, and the
// caller writes the entries that differ and deletes the rows of [Removed]. The zero value is the empty
// set.
//
// Whenever a session is added, [Prefer] alone decides which one is active, so that both ends choose the
// same one once they know the same sessions. There are two exceptions: [Set.Activate], and
// [Set.Initiate] where it may not go further ahead of the clock.
type Set struct{ entries []Entry }

// NewSet returns a set of stored entries, in any order. It returns [ErrFormat] unless they belong to
// one pair of devices, without duplicates, are at most one more than [MaxPrevious], and exactly one is
// active (if there are any).
func NewSet(entries []Entry) (Set, error) {
	active := 0
	for i, e := range entries {
		if e.Session.IsZero() {
			return Set{}, fmt.Errorf("set of sessions: empty entry: %w", ErrFormat)
		}
		first := entries[0].Session.st
		if e.Session.st.self != first.self || e.Session.st.peer != first.peer {
			return Set{}, fmt.Errorf("set of sessions: several peers: %w", ErrFormat)
		}
		if slices.ContainsFunc(entries[:i], func(x Entry) bool {
			return x.Session.st.transcript == e.Session.st.transcript
		}) {
			return Set{}, fmt.Errorf("set of sessions: one twice: %w", ErrFormat)
		}
		if e.Active {
			active++
		}
	}
	if len(entries) > MaxPrevious+1 || len(entries) > 0 && active != 1 {
		return Set{}, fmt.Errorf("set of %d sessions, %d active: %w", len(entries), active, ErrFormat)
	}
	return Set{entries: slices.Clone(entries)}, nil
}

// Entries returns the sessions of the set.
func (t Set) Entries() []Entry { return slices.Clone(t.entries) }

// Active returns the session that sends, or nil if the set is empty.
func (t Set) Active() *Session {
	if i := t.activeIndex(); i >= 0 {
		return t.entries[i].Session
	}
	return nil
}

func (t Set) activeIndex() int {
	return slices.IndexFunc(t.entries, func(e Entry) bool { return e.Active })
}

// ByHandshake returns the session of a handshake hash.
func (t Set) ByHandshake(hash [32]byte) (*Session, bool) {
	for _, e := range t.entries {
		if e.Session.st.handshake == hash {
			return e.Session, true
		}
	}
	return nil, false
}

// Initiate begins a session that replaces those of the set. The caller makes sure that a device does so
// at most once per [RebuildInterval]. It returns the errors of the function Initiate.
//
// Its generation is one more than the largest of the set, but at most one hour ahead of the clock, so
// that a peer whose clock is up to an hour behind accepts it. Where that is not the largest, the new
// session is active here nevertheless, in spite of [Prefer], and a retry request inside it makes the
// peer follow.
func (t Set) Initiate(self SelfKeys, b Bundle, now time.Time) (Set, error) {
	var known []uint32
	for _, e := range t.entries {
		known = append(known, e.Session.st.generation)
	}
	s, err := initiate(self, b, ownGeneration(known, unix(now)), now)
	if err != nil {
		return Set{}, err
	}
	next, err := t.Add(s, now)
	if err != nil {
		return Set{}, err
	}
	return next.Activate(s.st.transcript, now)
}

// Add adds a session created by Accept or Initiate. If it is preferred to the active one it replaces
// it; otherwise it only receives. Add returns [ErrParty] for another pair of devices and [ErrReplay]
// for a handshake that is already in the set.
func (t Set) Add(s *Session, now time.Time) (Set, error) {
	used := s.st.epoch > 0
	if len(t.entries) == 0 {
		return Set{entries: []Entry{{Session: s, Active: true, Used: used}}}, nil
	}
	first := t.entries[0].Session.st
	if first.self != s.st.self || first.peer != s.st.peer {
		return Set{}, fmt.Errorf("add session: %w", ErrParty)
	}
	if _, ok := t.ByHandshake(s.st.handshake); ok {
		return Set{}, fmt.Errorf("add session: %w", ErrReplay)
	}
	next := Set{entries: append(slices.Clone(t.entries), Entry{Session: s, Used: used})}
	if prefers(s.st, t.Active().st, unix(now)) {
		next.activate(len(next.entries) - 1)
	}
	next.retire(now)
	next.trim(s, unix(now))
	return next, nil
}

// Activate makes a session the sending one although another would be preferred. The caller does so when
// the peer asks, inside that session, for a message again: then the peer has lost the preferred one. It
// returns [ErrNoSession].
func (t Set) Activate(id [32]byte, now time.Time) (Set, error) {
	i := slices.IndexFunc(t.entries, func(e Entry) bool { return e.Session.st.transcript == id })
	if i < 0 {
		return Set{}, fmt.Errorf("activate: %w", ErrNoSession)
	}
	next := Set{entries: slices.Clone(t.entries)}
	next.activate(i)
	next.retire(now)
	return next, nil
}

// activate, retire and trim change a set that is still being built.
func (t *Set) activate(index int) {
	for i := range t.entries {
		t.entries[i].Active = i == index
	}
	t.entries[index].Until = time.Time{}
}

// retire sets the end of previous sessions once the active one is in use: then the peer has the active
// one, and only messages that it sealed earlier are still under way.
func (t *Set) retire(now time.Time) {
	if !t.entries[t.activeIndex()].Used {
		return
	}
	for i := range t.entries {
		if e := &t.entries[i]; !e.Active && e.Until.IsZero() {
			e.Until = now.Add(PreviousLifetime)
		}
	}
}

// trim drops sessions while there are too many: the previous session that ends first, otherwise the
// least preferred one, but never the one just added.
func (t *Set) trim(added *Session, now int64) {
	for len(t.entries) > MaxPrevious+1 {
		worst := -1
		for i, e := range t.entries {
			if !e.Active && e.Session != added && (worst < 0 || endsBefore(e, t.entries[worst], now)) {
				worst = i
			}
		}
		t.entries = slices.Delete(t.entries, worst, worst+1)
	}
}

func endsBefore(a, b Entry, now int64) bool {
	if a.Until.Equal(b.Until) {
		return prefers(b.Session.st, a.Session.st, now)
	}
	return b.Until.IsZero() || !a.Until.IsZero() && a.Until.Before(b.Until)
}

// Seal seals with the active session. It returns [ErrNoSession] for an empty set, and the errors of
// [Session.Seal].
func (t Set) Seal(m Meta, own ManifestRef, plaintext []byte, now time.Time) (Set, []byte, error) {
	i := t.activeIndex()
	if i < 0 {
		return Set{}, nil, fmt.Errorf("seal: %w", ErrNoSession)
	}
	s, out, err := t.entries[i].Session.Seal(m, own, plaintext, now)
	if err != nil {
		return Set{}, nil, err
	}
	next := Set{entries: slices.Clone(t.entries)}
	next.entries[i].Session = s
	return next, out, nil
}

// Open opens an envelope with its session: for an initial message, the session of its handshake;
// otherwise the first session with a matching header key, beginning with the active one. keys returns
// the stored message keys of a session, by id. The returned set contains the result's Next.
//
// For an initial message, [ErrNoSession] means that the caller should call Accept, unless the
// [HandshakeHash] was accepted before. Other errors are those of [Session.Open].
func (t Set) Open(m Meta, ciphertext []byte, keys func(id [32]byte) SkippedKeys, now time.Time) (Set, OpenResult, error) {
	order := make([]int, 0, len(t.entries))
	for i, e := range t.entries {
		if e.Active {
			order = slices.Insert(order, 0, i)
		} else {
			order = append(order, i)
		}
	}
	for _, i := range order {
		s := t.entries[i].Session
		var stored SkippedKeys
		if keys != nil {
			stored = keys(s.st.transcript)
		}
		res, err := s.Open(m, ciphertext, stored, now)
		if errors.Is(err, ErrNoSession) {
			continue
		}
		if err != nil {
			return Set{}, OpenResult{}, err
		}
		next := Set{entries: slices.Clone(t.entries)}
		next.entries[i].Session = res.Next
		next.entries[i].Used = true
		next.retire(now)
		return next, res, nil
	}
	return Set{}, OpenResult{}, fmt.Errorf("open: %w", ErrNoSession)
}

// Sweep drops previous sessions that have ended.
func (t Set) Sweep(now time.Time) Set {
	return Set{entries: slices.DeleteFunc(slices.Clone(t.entries), func(e Entry) bool {
		return !e.Active && !e.Until.IsZero() && !now.Before(e.Until)
	})}
}

// Begun reports whether the peer has begun a session although an earlier one was confirmed. Either the
// peer has lost its state, or somebody impersonates it, so the user gets a warning. It does not matter
// whether the new session sends: an impersonator chooses its generation, and can also read messages in
// a session that only receives.
func Begun(before Set) bool {
	return slices.ContainsFunc(before.entries, func(e Entry) bool { return e.Session.Confirmed() })
}

// Replaced reports whether another session sends in after than in before, although before had a
// confirmed one. If the peer has caused that, the user gets a warning, as for [Begun]. The confirmed
// session need not be the one that sent: by an envelope that does not open, the server can make one end
// begin its own session, which is not confirmed yet.
func Replaced(before, after Set) bool {
	was, is := before.Active(), after.Active()
	if was == nil || is == nil || was.st.transcript == is.st.transcript {
		return false
	}
	return slices.ContainsFunc(before.entries, func(e Entry) bool {
		return e.Session.Confirmed() && e.Session.st.transcript != is.st.transcript
	})
}

// Removed returns the ids of the sessions that are in before and not in after. The caller deletes their
// rows and their stored message keys.
func Removed(before, after Set) [][32]byte {
	var ids [][32]byte
	for _, e := range before.entries {
		if !slices.ContainsFunc(after.entries, func(x Entry) bool {
			return x.Session.st.transcript == e.Session.st.transcript
		}) {
			ids = append(ids, e.Session.st.transcript)
		}
	}
	return ids
}

// Marshal returns the entry in its stored form, which contains every secret of the session: the caller
// seals it at once and clears it.
func (e Entry) Marshal() []byte {
	b := appendBool([]byte{stateVersion}, e.Active)
	b = appendBool(b, e.Used)
	until := uint64(0)
	if !e.Until.IsZero() {
		until = uint64(unix(e.Until))
	}
	b = binary.BigEndian.AppendUint64(b, until)
	state := e.Session.st.marshal()
	defer clear(state)
	return append(b, state...)
}

// ParseEntry parses the output of [Entry.Marshal]. It returns [ErrFormat].
func ParseEntry(b []byte) (Entry, error) {
	r := reader{rest: b}
	if r.u8("version") != stateVersion {
		r.fail("version")
	}
	e := Entry{Active: r.bool("active"), Used: r.bool("used")}
	if until := readTime(&r); until > 0 {
		e.Until = time.Unix(until, 0)
	}
	if r.err != nil {
		return Entry{}, fmt.Errorf("parse entry: %w", r.err)
	}
	var err error
	e.Session, err = ParseSession(r.rest)
	return e, err
}
