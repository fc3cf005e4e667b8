package store

import (
	"errors"
	"testing"
)

// Counters and sessions that a transaction holds in memory behave as if they were written
// immediately: they are visible inside, undone with their part, and stored after the
// commit.
func TestHeldBackWritesFollowTheirPart(t *testing.T) {
	s := openTest(t, testPath(t))
	s.SetBox(testBox{})
	var account AccountID
	var peer PeerID
	device := DeviceRef{Device: [16]byte{1}}
	one, two := Session{ID: [32]byte{1}, Body: []byte("one")}, Session{ID: [32]byte{2}, Body: []byte("two")}
	update(t, s, func(tx *Tx) (err error) {
		if account, err = tx.NewAccount(Account{Address: "a@x"}); err != nil {
			return err
		}
		if peer, err = tx.Peer(account, "b@x"); err != nil {
			return err
		}
		device.Account, device.Peer = account, peer
		return tx.SaveSession(device, one)
	})
	bad := errors.New("bad")
	update(t, s, func(tx *Tx) error {
		if n, err := tx.NextN(account, peer); n != 1 || err != nil {
			t.Errorf("n %d, %v", n, err)
		}
		if err := tx.Step(account); err != nil {
			return err
		}
		err := tx.Sub(func() error {
			if n, err := tx.NextN(account, peer); n != 2 || err != nil {
				t.Errorf("n %d, %v", n, err)
			}
			if err := errors.Join(tx.Step(account), tx.SaveSession(device, two), tx.SaveSession(device, Session{ID: one.ID, Body: []byte("changed")})); err != nil {
				return err
			}
			if list, err := tx.Sessions(device); len(list) != 2 || err != nil {
				t.Errorf("within: %d sessions, %v", len(list), err)
			}
			// A statement that bypasses the memory flushes it first.
			if err := tx.DeleteSession(device, one.ID); err != nil {
				return err
			}
			return bad
		})
		if !errors.Is(err, bad) {
			t.Errorf("part: %v", err)
		}
		if n, err := tx.NextN(account, peer); n != 2 || err != nil {
			t.Errorf("n after the undone part %d, %v", n, err)
		}
		if steps, err := tx.Steps(account); steps != 1 || err != nil {
			t.Errorf("steps %d, %v", steps, err)
		}
		list, err := tx.Sessions(device)
		if len(list) != 1 || string(list[0].Body) != "one" || err != nil {
			t.Errorf("sessions %+v, %v", list, err)
		}
		return tx.SaveSession(device, Session{ID: one.ID, Body: []byte("newer")})
	})
	err := s.View(t.Context(), func(tx *Tx) error {
		if steps, err := tx.Steps(account); steps != 1 || err != nil {
			t.Errorf("steps after the commit %d, %v", steps, err)
		}
		list, err := tx.Sessions(device)
		if len(list) != 1 || string(list[0].Body) != "newer" {
			t.Errorf("sessions after the commit %+v", list)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A peer created in an undone part is not cached.
func TestUndonePeerIsForgotten(t *testing.T) {
	s := openTest(t, testPath(t))
	s.SetBox(testBox{})
	update(t, s, func(tx *Tx) error {
		err := tx.Sub(func() error {
			if _, err := tx.Peer(1, "b@x"); err != nil {
				return err
			}
			return errors.New("undone")
		})
		if err == nil {
			t.Error("not undone")
		}
		return nil
	})
	err := s.View(t.Context(), func(tx *Tx) error {
		if id, err := tx.FindPeer(1, "b@x"); !isNotFound(err) {
			t.Errorf("peer %d, %v", id, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
