package store

// Gap is a range of counters of a sending device that have not arrived.
type Gap struct {
	Peer    PeerID
	Device  [16]byte
	Low     uint64
	High    uint64
	SinceMS int64
}

// NextN draws the counter for the next message to a peer, from 1.
func (tx *Tx) NextN(account AccountID, peer PeerID) (uint64, error) {
	n, err := tx.draw(countN, account, peer)
	return uint64(n), err
}

// maxN bounds a counter that a peer claims, so that it fits SQLite's integers.
const maxN = 1 << 62

// SawN records that message n of a device arrived: it opens a gap for what was
// skipped, or fills a place of one. A device's first n opens no gap.
func (tx *Tx) SawN(account AccountID, peer PeerID, device [16]byte, n uint64, ms int64) error {
	if n == 0 || n > maxN {
		return nil
	}
	var high uint64
	err := tx.get(`SELECT high FROM seen_n WHERE account = ? AND peer = ? AND device = ?`, []any{account, peer, device[:]}, &high)
	if isNotFound(err) {
		return tx.exec(`INSERT INTO seen_n (account, peer, device, high) VALUES (?, ?, ?, ?)`, account, peer, device[:], n)
	}
	if err != nil {
		return err
	}
	if n <= high {
		return tx.fillGap(account, peer, device, n)
	}
	if n > high+1 {
		if err := tx.putGap(account, Gap{Peer: peer, Device: device, Low: high + 1, High: n - 1, SinceMS: ms}); err != nil {
			return err
		}
	}
	return tx.exec(`UPDATE seen_n SET high = ? WHERE account = ? AND peer = ? AND device = ?`, n, account, peer, device[:])
}

// SawAgain is SawN for a message that is known: it came in another envelope, of
// which nothing else is new.
func (tx *Tx) SawAgain(account AccountID, peer PeerID, device [16]byte, n uint64, ms int64) error {
	return tx.SawN(account, peer, device, n, ms)
}

// fillGap takes n out of the gap that holds it, which leaves none, one or two.
func (tx *Tx) fillGap(account AccountID, peer PeerID, device [16]byte, n uint64) error {
	g := Gap{Peer: peer, Device: device}
	err := tx.get(`SELECT low, high, since_ms FROM gaps WHERE account = ? AND peer = ? AND device = ? AND low <= ? AND high >= ?`,
		[]any{account, peer, device[:], n, n}, &g.Low, &g.High, &g.SinceMS)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.DeleteGap(account, g); err != nil {
		return err
	}
	if g.Low < n {
		left := g
		left.High = n - 1
		if err := tx.putGap(account, left); err != nil {
			return err
		}
	}
	if g.High > n {
		right := g
		right.Low = n + 1
		return tx.putGap(account, right)
	}
	return nil
}

func (tx *Tx) putGap(account AccountID, g Gap) error {
	return tx.exec(`INSERT INTO gaps (account, peer, device, low, high, since_ms) VALUES (?, ?, ?, ?, ?, ?)`,
		account, g.Peer, g.Device[:], g.Low, g.High, g.SinceMS)
}

// DeleteGap forgets a gap.
func (tx *Tx) DeleteGap(account AccountID, g Gap) error {
	return tx.exec(`DELETE FROM gaps WHERE account = ? AND peer = ? AND device = ? AND low = ?`, account, g.Peer, g.Device[:], g.Low)
}

// Gaps returns the gaps open since before ms, oldest first.
func (tx *Tx) Gaps(account AccountID, ms int64) ([]Gap, error) {
	var out []Gap
	err := tx.each(`SELECT peer, device, low, high, since_ms FROM gaps WHERE account = ? AND since_ms <= ? ORDER BY since_ms, low`,
		[]any{account, ms}, func(scan func(...any) error) error {
			var g Gap
			var device []byte
			if err := scan(&g.Peer, &device, &g.Low, &g.High, &g.SinceMS); err != nil {
				return err
			}
			copy(g.Device[:], device)
			out = append(out, g)
			return nil
		})
	return out, err
}

// OldestGap returns since when the oldest gap is open, 0: there is none.
func (tx *Tx) OldestGap(account AccountID) (int64, error) {
	var ms int64
	err := tx.get(`SELECT coalesce(min(since_ms), 0) FROM gaps WHERE account = ?`, []any{account}, &ms)
	return ms, err
}
