package store

// Gap is a range of a sending device's counters that have not arrived.
type Gap struct {
	Peer    PeerID
	Device  [16]byte
	Low     uint64
	High    uint64
	SinceMS int64
	told    bool
}

// maxGaps bounds the reported gaps kept for one device. If there are more, they are merged
// into one, and it is no longer known which numbers inside it arrived.
const maxGaps = 1000

// NextN draws the counter for the next message to a peer, starting with 1.
func (tx *Tx) NextN(account AccountID, peer PeerID) (uint64, error) {
	n, err := tx.draw(countN, account, peer)
	return uint64(n), err
}

// maxN bounds a counter claimed by a peer, so that it fits SQLite's integers.
const maxN = 1 << 62

// SawN records that message n of a device has arrived: it opens a gap for skipped numbers,
// or fills a place in one. A gap before a device's first n is not reported. It returns
// whether n arrived before, which means something only for a message with a new id.
func (tx *Tx) SawN(account AccountID, peer PeerID, device [16]byte, n uint64, ms int64) (repeated bool, err error) {
	if n == 0 || n > maxN {
		return false, nil
	}
	var high uint64
	err = tx.get(`SELECT high FROM seen_n WHERE account = ? AND peer = ? AND device = ?`, []any{account, peer, device[:]}, &high)
	first := isNotFound(err)
	if err != nil && !first {
		return false, err
	}
	if n <= high {
		filled, err := tx.fillGap(account, peer, device, n)
		return err == nil && !filled, err
	}
	if n > high+1 {
		g := Gap{Peer: peer, Device: device, Low: high + 1, High: n - 1, SinceMS: ms, told: first}
		if err := tx.putGap(account, g); err != nil {
			return false, err
		}
	}
	return false, tx.exec(`INSERT INTO seen_n (account, peer, device, high) VALUES (?, ?, ?, ?)
		ON CONFLICT (account, peer, device) DO UPDATE SET high = excluded.high`, account, peer, device[:], n)
}

// SawAgain is SawN for a known message that arrived in another envelope. Its number may
// have been seen.
func (tx *Tx) SawAgain(account AccountID, peer PeerID, device [16]byte, n uint64, ms int64) error {
	_, err := tx.SawN(account, peer, device, n, ms)
	return err
}

// fillGap removes n from the gap that contains it, which leaves up to two gaps, and reports
// whether there was one.
func (tx *Tx) fillGap(account AccountID, peer PeerID, device [16]byte, n uint64) (bool, error) {
	g := Gap{Peer: peer, Device: device}
	err := tx.get(`SELECT low, high, since_ms, told FROM gaps
		WHERE account = ? AND peer = ? AND device = ? AND low <= ? AND high >= ? ORDER BY told LIMIT 1`,
		[]any{account, peer, device[:], n, n}, &g.Low, &g.High, &g.SinceMS, &g.told)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = tx.exec(`DELETE FROM gaps WHERE account = ? AND peer = ? AND device = ? AND low = ?`, account, g.Peer, g.Device[:], g.Low)
	if err != nil {
		return false, err
	}
	if g.Low < n {
		left := g
		left.High = n - 1
		if err := tx.putGap(account, left); err != nil {
			return false, err
		}
	}
	if g.High > n {
		right := g
		right.Low = n + 1
		return true, tx.putGap(account, right)
	}
	return true, nil
}

func (tx *Tx) putGap(account AccountID, g Gap) error {
	return tx.exec(`INSERT INTO gaps (account, peer, device, low, high, since_ms, told) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, peer, device, low) DO UPDATE SET high = max(high, excluded.high)`,
		account, g.Peer, g.Device[:], g.Low, g.High, g.SinceMS, g.told)
}

// GapTold records that a gap was reported to the user. It stays until it is filled.
func (tx *Tx) GapTold(account AccountID, g Gap) error {
	err := tx.exec(`UPDATE gaps SET told = 1 WHERE account = ? AND peer = ? AND device = ? AND low = ?`, account, g.Peer, g.Device[:], g.Low)
	if err != nil {
		return err
	}
	whole := Gap{Peer: g.Peer, Device: g.Device, told: true}
	var n int
	err = tx.get(`SELECT count(*), coalesce(min(low), 0), coalesce(max(high), 0) FROM gaps
		WHERE account = ? AND peer = ? AND device = ? AND told = 1`, []any{account, g.Peer, g.Device[:]}, &n, &whole.Low, &whole.High)
	if err != nil || n <= maxGaps {
		return err
	}
	err = tx.exec(`DELETE FROM gaps WHERE account = ? AND peer = ? AND device = ? AND told = 1`, account, g.Peer, g.Device[:])
	if err != nil {
		return err
	}
	return tx.putGap(account, whole)
}

// Gaps returns the unreported gaps that have been open since before ms, oldest first.
func (tx *Tx) Gaps(account AccountID, ms int64) ([]Gap, error) {
	var out []Gap
	err := tx.each(`SELECT peer, device, low, high, since_ms FROM gaps INDEXED BY gaps_untold
		WHERE account = ? AND told = 0 AND since_ms <= ? ORDER BY since_ms, low`,
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

// OldestGap returns since when the oldest unreported gap has been open, or 0.
func (tx *Tx) OldestGap(account AccountID) (int64, error) {
	var ms int64
	err := tx.get(`SELECT coalesce(min(since_ms), 0) FROM gaps INDEXED BY gaps_untold WHERE account = ? AND told = 0`, []any{account}, &ms)
	return ms, err
}
