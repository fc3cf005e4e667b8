package store

import (
	"fmt"
	"testing"
)

// appendEvents adds n events of a type and peer.
func appendEvents(t *testing.T, s *Store, typ string, peer PeerID, n int) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		for range n {
			seq, err := tx.NextSeq()
			if err != nil {
				return err
			}
			if err := tx.InsertEvent(Event{Seq: seq, Account: 1, ID: fmt.Sprint(seq), Type: typ, Peer: peer, CreatedMS: 1000, Body: []byte("x")}); err != nil {
				return err
			}
		}
		return nil
	})
}

func eventCounts(t *testing.T, s *Store) map[string]int {
	t.Helper()
	out := map[string]int{}
	update(t, s, func(tx *Tx) error {
		list, err := tx.Events(EventFilter{Limit: 1 << 30})
		for _, e := range list {
			out[fmt.Sprint(e.Type, e.Peer)]++
		}
		return err
	})
	return out
}

// A flood of one type, or of one peer within a type, displaces only events of the same
// kind. Consumers learn how many they missed.
func TestEventFloodsPushNothingElseOut(t *testing.T) {
	s := openTest(t, testPath(t))
	bob, carol, eve := peerOf(t, s, "bob@x"), peerOf(t, s, "carol@x"), peerOf(t, s, "eve@x")
	appendEvents(t, s, "message", bob, 60)
	appendEvents(t, s, "message", carol, 40)
	appendEvents(t, s, "identity", bob, 5)
	update(t, s, func(tx *Tx) error { return tx.InsertConsumer(Consumer{Name: "bot", Cursor: 30}) })
	for range 3 {
		appendEvents(t, s, "presence", carol, 1000)
		appendEvents(t, s, "identity", eve, 1000)
		appendEvents(t, s, "message", eve, 1000)
		update(t, s, func(tx *Tx) error { _, err := tx.DeleteEvents(0, 600); return err })
		got := eventCounts(t, s)
		total := 0
		for _, n := range got {
			total += n
		}
		if total > 600 || total < 590 {
			t.Errorf("%d events are kept: %v", total, got)
		}
		if got[fmt.Sprint("message", bob)] != 60 || got[fmt.Sprint("message", carol)] != 40 || got[fmt.Sprint("identity", bob)] != 5 {
			t.Errorf("the flood pushed others out: %v", got)
		}
	}
	update(t, s, func(tx *Tx) error {
		c, err := tx.Consumer("bot")
		if err != nil || c.Missed != 9000+105-int64(sum([]int{600})) {
			t.Errorf("missed %d, %v", c.Missed, err)
		}
		n, err := tx.DeleteEvents(1001, 600)
		if err == nil && n < 590 {
			t.Errorf("age deleted %d events", n)
		}
		return err
	})
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		counts []int
		keep   int
		want   int
	}{
		{[]int{5}, 10, 5}, {[]int{50}, 10, 10}, {[]int{3, 50, 50}, 21, 9}, {[]int{50, 3, 50}, 23, 10}, {[]int{1, 1, 1}, 2, 0}, {[]int{4}, -1, 0}, {nil, 3, 0},
	} {
		if got := share(tt.counts, tt.keep); got != tt.want {
			t.Errorf("share(%v, %d) = %d, want %d", tt.counts, tt.keep, got, tt.want)
		}
	}
}
