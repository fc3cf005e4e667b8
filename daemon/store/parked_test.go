package store

import "testing"

// A peer with a thousand undecryptable envelopes leaves room for another peer's one.
// Envelopes that were asked for come after those that were not.
func TestParkedToAskIsFair(t *testing.T) {
	s := openTest(t, testPath(t))
	update(t, s, func(tx *Tx) error {
		park := func(peer PeerID, n int, reason int) {
			t.Helper()
			id := MessageID{byte(peer), byte(n >> 8), byte(n)}
			if _, err := tx.Park(Parked{Account: 1, Peer: peer, ID: id, Reason: reason, Ciphertext: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 1000 {
			park(1, n, ParkedUndecryptable)
		}
		park(2, 0, ParkedUndecryptable)
		park(3, 0, ParkedChanged)
		list, err := tx.ParkedToAsk(1, 10)
		if err != nil {
			return err
		}
		if len(list) != 11 || list[10].Peer != 2 || list[0].ID != (MessageID{1}) || list[0].Ciphertext != nil {
			t.Fatalf("%d to ask for: %+v", len(list), list)
		}
		for _, p := range list[:10] {
			if err := tx.ParkedAsked(p, 5); err != nil {
				return err
			}
		}
		if list, err = tx.ParkedToAsk(1, 10); err != nil {
			return err
		}
		if peers, err := tx.ParkedPeers(1, ParkedUndecryptable); err != nil || len(peers) != 2 || peers[0] != 1 || peers[1] != 2 {
			t.Errorf("peers %v, %v", peers, err)
		}
		if len(list) != 11 || list[0].ID != (MessageID{1, 0, 10}) {
			t.Errorf("%d to ask for, the first %+v", len(list), list[0])
		}
		return nil
	})
}
