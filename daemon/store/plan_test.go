package store

import (
	"fmt"
	"strings"
	"testing"
)

// plan returns SQLite's query plan for a statement.
func plan(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	var out []string
	update(t, s, func(tx *Tx) error {
		return tx.each("EXPLAIN QUERY PLAN "+query, args, func(scan func(...any) error) error {
			var id, parent, unused int
			var detail string
			if err := scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			out = append(out, detail)
			return nil
		})
	})
	return strings.Join(out, "\n")
}

// TestQueuedReadsNoWholeOutbox checks the plan of the query that runs after every send: it
// uses the index of queued rows, and takes rows by their key.
func TestQueuedReadsNoWholeOutbox(t *testing.T) {
	s := openTest(t, testPath(t))
	for _, line := range strings.Split(plan(t, s, queuedQuery, 1, "[]", 32, 64), "\n") {
		if !strings.Contains(line, "outbox") && !strings.Contains(line, "SEARCH") {
			continue
		}
		byIndex := strings.Contains(line, "USING INDEX outbox_queued") || strings.Contains(line, "USING COVERING INDEX outbox_queued")
		byKey := strings.Contains(line, "PRIMARY KEY (account=? AND id=?)")
		if !byIndex && !byKey {
			t.Errorf("the plan reads more than it needs: %s", line)
		}
	}
}

// TestQueuedIsTheHeadOfEachQueue compares the query with a simple computation.
func TestQueuedIsTheHeadOfEachQueue(t *testing.T) {
	s := openTest(t, testPath(t))
	var peers []PeerID
	for i := range 5 {
		peers = append(peers, peerOf(t, s, fmt.Sprintf("p%d@x", i)))
	}
	var want []MessageID
	update(t, s, func(tx *Tx) error {
		taken := map[PeerID]int{}
		for i := range 200 {
			p := peers[i*i%len(peers)] // many for some peers, none for others
			o := &Outgoing{Account: AccountID(1 + i%7/6), ID: MessageID{byte(i)}, Peer: p, Phase: PhaseQueued}
			if i%5 == 3 {
				o.Phase = PhaseAccepted
			}
			if err := tx.InsertOutgoing(o); err != nil {
				return err
			}
			if o.Account != 1 || o.Phase != PhaseQueued || p == peers[4] {
				continue
			}
			if taken[p]++; taken[p] <= 7 && len(want) < 12 {
				want = append(want, o.ID)
			}
		}
		list, err := tx.Queued(1, []PeerID{peers[4]}, 7, 12)
		if err != nil {
			return err
		}
		var got []MessageID
		for _, o := range list {
			got = append(got, o.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		return nil
	})
}
