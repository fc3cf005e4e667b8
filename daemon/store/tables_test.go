package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func peerOf(t *testing.T, s *Store, address string) (id PeerID) {
	t.Helper()
	update(t, s, func(tx *Tx) (err error) {
		id, err = tx.Peer(1, address)
		return err
	})
	return id
}

func incoming(peer PeerID, device byte, n uint64) *Message {
	m := &Message{Account: 1, Peer: peer, Direction: In, Device: bytes.Repeat([]byte{device}, 16), N: n, ReceivedMS: 1, Unread: true, Body: fmt.Append(nil, device, n)}
	m.ID = MessageID{device, byte(n), byte(n >> 8)}
	return m
}

func TestHistoryKeepsArrivalButOrdersEachDevice(t *testing.T) {
	s := openTest(t, testPath(t))
	bob := peerOf(t, s, "bob@x")
	// Device 1's messages arrive as 2, 3, 1, and device 2's as 5, 4 in between, with own
	// messages in between.
	type row struct {
		device byte
		n      uint64
	}
	arrival := []row{{1, 2}, {2, 5}, {1, 3}, {0, 0}, {2, 4}, {1, 1}}
	update(t, s, func(tx *Tx) error {
		for i, r := range arrival {
			m := incoming(bob, r.device, r.n)
			if r.device == 0 {
				m.Direction, m.ID, m.N = Out, MessageID{99, byte(i)}, 7
			}
			if err := tx.InsertMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
	want := []row{{1, 1}, {2, 4}, {1, 2}, {0, 0}, {2, 5}, {1, 3}}
	for limit := 1; limit <= len(want); limit++ {
		err := s.View(t.Context(), func(tx *Tx) error {
			got, err := tx.History(1, bob, limit, 0, 0)
			if err != nil || len(got) != limit {
				t.Fatalf("limit %d: %d messages, %v", limit, len(got), err)
			}
			for i, m := range got {
				w := want[len(want)-limit+i]
				if m.Device[0] != w.device || m.Direction == In && m.N != w.n {
					t.Errorf("limit %d: at %d device %d n %d, want %v", limit, i, m.Device[0], m.N, w)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestGapsAreWhatIsMissing compares the ranges with a set, for counters in random order.
func TestGapsAreWhatIsMissing(t *testing.T) {
	s := openTest(t, testPath(t))
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 20 {
		device := [16]byte{byte(round)}
		first := uint64(rng.IntN(5) + 1)
		ns := []uint64{first}
		for n := first + 1; n < first+40; n++ {
			if rng.IntN(4) > 0 {
				ns = append(ns, n)
			}
		}
		rng.Shuffle(len(ns)-1, func(i, j int) { ns[i+1], ns[j+1] = ns[j+1], ns[i+1] })
		update(t, s, func(tx *Tx) error {
			seen := map[uint64]bool{}
			var high uint64
			for _, n := range ns {
				for again := range 2 { // the repetition changes nothing and is reported
					repeated, err := tx.SawN(1, 1, device, n, int64(5+again))
					if err != nil || repeated != (again == 1) {
						t.Errorf("round %d: n %d for the %d. time: repeated %v, %v", round, n, again+1, repeated, err)
					}
				}
				seen[n] = true
				high = max(high, n)
			}
			gaps, err := tx.Gaps(1, 10)
			if err != nil {
				return err
			}
			missing := map[uint64]bool{}
			for _, g := range gaps {
				if g.Device != device {
					continue
				}
				for n := g.Low; n <= g.High; n++ {
					missing[n] = true
				}
			}
			for n := first; n <= high; n++ {
				if seen[n] == missing[n] {
					t.Errorf("round %d: n %d seen %v, missing %v", round, n, seen[n], missing[n])
				}
			}
			return nil
		})
	}
	// Absurd counters cause no errors and use no memory.
	update(t, s, func(tx *Tx) error {
		for _, n := range []uint64{1, 1 << 40, 1<<64 - 1, 0} {
			if _, err := tx.SawN(1, 2, [16]byte{}, n, 5); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestQueuedIsFairBetweenPeers(t *testing.T) {
	s := openTest(t, testPath(t))
	a, b, c := peerOf(t, s, "a@x"), peerOf(t, s, "b@x"), peerOf(t, s, "c@x")
	update(t, s, func(tx *Tx) error {
		for i := range 50 {
			if err := tx.InsertOutgoing(&Outgoing{Account: 1, ID: MessageID{1, byte(i)}, Peer: a, Phase: PhaseQueued}); err != nil {
				return err
			}
		}
		for i, p := range []PeerID{b, c} {
			if err := tx.InsertOutgoing(&Outgoing{Account: 1, ID: MessageID{2, byte(i)}, Peer: p, Phase: PhaseQueued}); err != nil {
				return err
			}
		}
		list, err := tx.Queued(1, []PeerID{c}, 5, 100)
		if err != nil {
			return err
		}
		count := map[PeerID]int{}
		last := int64(0)
		for _, o := range list {
			count[o.Peer]++
			if o.Ord <= last {
				t.Error("out of order")
			}
			last = o.Ord
		}
		if count[a] != 5 || count[b] != 1 || count[c] != 0 {
			t.Errorf("counts %v", count)
		}
		return nil
	})
}

func TestAnswersDropCiphertextAndHeldOnesStay(t *testing.T) {
	s := openTest(t, testPath(t))
	peer := peerOf(t, s, "a@x")
	update(t, s, func(tx *Tx) error {
		for i := range byte(3) {
			id := MessageID{i}
			if err := tx.InsertOutgoing(&Outgoing{Account: 1, ID: id, Peer: peer, Phase: PhaseSealed}); err != nil {
				return err
			}
			if err := tx.PutEnvelope(&Envelope{Account: 1, ID: id, Device: [16]byte{i}, Peer: peer, Status: EnvelopePending, Ciphertext: []byte("secret")}); err != nil {
				return err
			}
		}
		if was, err := tx.AnswerEnvelope(1, MessageID{0}, [16]byte{0}, EnvelopeAccepted, 0); err != nil || !was {
			t.Errorf("answer: %v %v", was, err)
		}
		if was, err := tx.AnswerEnvelope(1, MessageID{0}, [16]byte{0}, EnvelopeRejected, 7); err != nil || was {
			t.Errorf("second answer: %v %v", was, err)
		}
		env, err := tx.Envelope(1, MessageID{0}, [16]byte{0})
		if err != nil || len(env.Ciphertext) != 0 || env.Status != EnvelopeAccepted {
			t.Errorf("%+v %v", env, err)
		}
		if err := tx.SetPhase(1, MessageID{1}, PhaseHeld, "request"); err != nil {
			return err
		}
		list, err := tx.PendingEnvelopes(1, 0, 10)
		if err != nil || len(list) != 1 || list[0].ID != (MessageID{2}) {
			t.Errorf("pending %+v %v", list, err)
		}
		if err := tx.Unseal(1); err != nil {
			return err
		}
		o, err := tx.Outgoing(1, MessageID{2})
		if err != nil || o.Phase != PhaseQueued {
			t.Errorf("after unseal %+v %v", o, err)
		}
		return nil
	})
}

// TestFullDiskRefusesAndRecovers: committed data stays, new writes fail with their own
// error, and the store works again when there is space.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	s := openTest(t, testPath(t))
	peer := peerOf(t, s, "a@x")
	pages := func(n int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var have, got int64
		if err := s.conn.conn.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&have); err != nil {
			t.Fatal(err)
		}
		if err := s.conn.conn.QueryRowContext(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, have+n)).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	write := func(i int) error {
		return s.Update(t.Context(), func(tx *Tx) error {
			m := incoming(peer, 1, uint64(i+1))
			m.Body = make([]byte, 3000)
			return tx.InsertMessage(m)
		})
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	pages(10)
	var err error
	var kept int
	for kept = 1; kept < 1000 && err == nil; kept++ {
		err = write(kept)
	}
	kept--
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("after %d: %v", kept, err)
	}
	pages(100_000)
	if err := write(kept); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	err = s.View(t.Context(), func(tx *Tx) error {
		list, err := tx.History(1, peer, 1000, 0, 0)
		if len(list) != kept+1 {
			t.Errorf("%d messages, want %d", len(list), kept+1)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestProfileTimeNeverGoesBack(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	ahead := s.ProfileTime().Add(20 * time.Hour)
	if err := s.SetServerTime(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	if err := s.SetServerTime(t.Context(), ahead.Add(-72*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if now := s.ProfileTime(); now.Before(ahead) {
		t.Errorf("went back to %s", now)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path)
	if now := s.ProfileTime(); now.Before(ahead.Truncate(time.Millisecond)) || now.After(ahead.Add(time.Hour)) {
		t.Errorf("after a restart %s, want about %s", now, ahead)
	}
}

func TestLockedQueueWorksWithoutABox(t *testing.T) {
	s := openTest(t, testPath(t))
	s.SetBox(nil)
	update(t, s, func(tx *Tx) error { return tx.QueueLocked(1, []byte("sealed"), 5) })
	err := s.Update(t.Context(), func(tx *Tx) error { _, err := tx.Peer(1, "a@x"); return err })
	if !errors.Is(err, ErrLocked) {
		t.Errorf("peer while locked: %v", err)
	}
	update(t, s, func(tx *Tx) error {
		list, err := tx.LockedSends(1, 10)
		if err != nil || len(list) != 1 || string(list[0].Sealed) != "sealed" {
			t.Errorf("%+v %v", list, err)
		}
		return nil
	})
}

// TestUnsyncedWALTailIsIgnored truncates the WAL at all kinds of places, as a power failure
// may: the database opens and contains a prefix of the commits.
func TestUnsyncedWALTailIsIgnored(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	peer := peerOf(t, s, "a@x")
	for i := range 20 {
		update(t, s, func(tx *Tx) error { return tx.InsertMessage(incoming(peer, 1, uint64(i+1))) })
	}
	for _, cut := range []int{0, 1, 100, 5000, 20_000} {
		copied := testPath(t)
		copyFile(t, path, copied, 0)
		copyFile(t, path+"-wal", copied+"-wal", cut)
		c := openTest(t, copied)
		err := c.View(t.Context(), func(tx *Tx) error {
			id, err := tx.FindPeer(1, "a@x")
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			list, err := tx.History(1, id, 100, 0, 0)
			for i, m := range list {
				if m.N != uint64(i+1) {
					t.Errorf("cut %d: hole at %d", cut, i)
				}
			}
			return err
		})
		if err != nil {
			t.Errorf("cut %d: %v", cut, err)
		}
	}
}
