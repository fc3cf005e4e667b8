package ratchet

import (
	"errors"
	"testing"
	"time"
)

// testEnd does the work of a Set's caller: it stores skipped keys, keeps the hashes of accepted
// handshakes, deletes one-time keys, and can restart.
type testEnd struct {
	t        *testing.T
	dev      *testDevice
	peer     *testDevice
	set      Set
	keys     map[[32]byte]testKeys
	accepted map[[32]byte]bool
	usedOnce bool // the one-time keys were used and are gone
	shown    map[uint64]int
	accepts  int
	last     [32]byte // the session that opened the last letter
}

func newTestEnd(t *testing.T, dev, peer *testDevice) *testEnd {
	return &testEnd{
		t: t, dev: dev, peer: peer, keys: map[[32]byte]testKeys{},
		accepted: map[[32]byte]bool{}, shown: map[uint64]int{},
	}
}

// errNotAgain is the caller's error for a replayed handshake.
var errNotAgain = errors.New("handshake was accepted before")

func (e *testEnd) initiate(oneTime bool, now time.Time) {
	e.t.Helper()
	set, err := e.set.Initiate(e.dev.self(), e.peer.bundle(oneTime), now)
	if err != nil {
		e.t.Fatal(err)
	}
	e.put(set)
}

// put replaces the set and deletes the keys of removed sessions.
func (e *testEnd) put(set Set) {
	for _, id := range Removed(e.set, set) {
		delete(e.keys, id)
	}
	e.set = set
}

func (e *testEnd) seal(id uint64, text string, now time.Time) letter {
	e.t.Helper()
	l := letter{m: meta(e.dev, e.peer, id), text: text}
	set, ct, err := e.set.Seal(l.m, testOwn(), []byte(text), now)
	if err != nil {
		e.t.Fatalf("seal %d: %v", id, err)
	}
	e.put(set)
	l.ct = ct
	return l
}

func (e *testEnd) stored(id [32]byte) SkippedKeys { return e.keys[id] }

// open applies the receiving rule of SPEC "Replay".
func (e *testEnd) open(l letter, id uint64, now time.Time) error {
	e.t.Helper()
	hash := [32]byte{}
	if IsInitial(l.ct) {
		var err error
		if hash, err = HandshakeHash(l.m, l.ct); err != nil {
			return err
		}
		if _, ok := e.set.ByHandshake(hash); !ok {
			return e.accept(l, id, hash, now)
		}
	}
	set, res, err := e.set.Open(l.m, l.ct, e.stored, now)
	if err != nil {
		return err
	}
	e.put(set)
	e.commit(l, id, res)
	return nil
}

func (e *testEnd) accept(l letter, id uint64, hash [32]byte, now time.Time) error {
	if e.accepted[hash] {
		return errNotAgain
	}
	h, err := ParseInitial(l.ct)
	if err != nil {
		return err
	}
	if h.HasOneTime && e.usedOnce {
		return ErrBundle // the private half is gone
	}
	res, err := Accept(e.dev.self(), e.dev.keys(h), e.peer.verified(), l.m, l.ct, now)
	if err != nil {
		return err
	}
	set, err := e.set.Add(res.Next, now)
	if err != nil {
		return err
	}
	e.put(set)
	e.accepted[hash] = true
	e.usedOnce = e.usedOnce || h.HasOneTime
	e.accepts++
	e.commit(l, id, res)
	return nil
}

func (e *testEnd) commit(l letter, id uint64, res OpenResult) {
	e.t.Helper()
	if string(res.Plaintext) != l.text {
		e.t.Fatalf("opened %q as %q", l.text, res.Plaintext)
	}
	sid := res.Next.TranscriptHash()
	e.last = sid
	if e.keys[sid] == nil {
		e.keys[sid] = testKeys{}
	}
	e.keys[sid].commit(res)
	if len(res.Next.st.old) > MaxOldHeaderKeys || len(res.Next.st.offers) > MaxOffers {
		e.t.Fatalf("%d old chains, %d offers", len(res.Next.st.old), len(res.Next.st.offers))
	}
	e.shown[id]++
}

// restart stores everything and reads it again.
func (e *testEnd) restart() {
	e.t.Helper()
	var entries []Entry
	for _, x := range e.set.Entries() {
		b := x.Marshal()
		y, err := ParseEntry(b)
		if err != nil {
			e.t.Fatal(err)
		}
		if string(y.Marshal()) != string(b) {
			e.t.Fatal("the state of the parsed stored form differs")
		}
		entries = append(entries, y)
	}
	set, err := NewSet(entries)
	if err != nil {
		e.t.Fatal(err)
	}
	e.set = set
}
