package store

import "slices"

// deleteChunk bounds the events that one statement deletes.
const deleteChunk = 10_000

// DeleteEvents deletes events older than ms. If more than keep are left, it deletes the
// oldest ones of the largest groups: keep is divided among the types, and each type's share
// among its peers. So a flood caused by a server or a peer (presence, warnings, file
// states, messages) displaces only events of the same type and peer. It returns the number
// of deleted events.
func (tx *Tx) DeleteEvents(ms int64, keep int) (int64, error) {
	err := tx.exec(`UPDATE consumers SET missed = missed + (SELECT count(*) FROM events
		WHERE seq > consumers.cursor AND created_ms < ?1)`, ms)
	if err != nil {
		return 0, err
	}
	gone, err := tx.execN(`DELETE FROM events WHERE created_ms < ?`, ms)
	if err != nil {
		return gone, err
	}
	var n int
	if err := tx.get(`SELECT count(*) FROM events`, nil, &n); err != nil || n <= keep {
		return gone, err
	}
	surplus, err := tx.surplusEvents(keep)
	if err != nil {
		return gone, err
	}
	for chunk := range slices.Chunk(surplus, deleteChunk) {
		list, err := jsonList(chunk)
		if err != nil {
			return gone, err
		}
		err = tx.exec(`UPDATE consumers SET missed = missed + (SELECT count(*) FROM json_each(?1) WHERE value > consumers.cursor)`, list)
		if err != nil {
			return gone, err
		}
		n, err := tx.execN(`DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?1))`, list)
		gone += n
		if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// surplusEvents returns the events beyond the shares of keep.
func (tx *Tx) surplusEvents(keep int) ([]int64, error) {
	counts := make(map[string][]int) // by type, for each peer
	err := tx.each(`SELECT type, count(*) FROM events GROUP BY type, peer`, nil, func(scan func(...any) error) error {
		var typ string
		var n int
		err := scan(&typ, &n)
		counts[typ] = append(counts[typ], n)
		return err
	})
	if err != nil {
		return nil, err
	}
	var totals []int
	for _, list := range counts {
		totals = append(totals, sum(list))
	}
	ofType := share(totals, keep)
	var out []int64
	for typ, list := range counts {
		if sum(list) <= ofType {
			continue
		}
		err := tx.each(`SELECT seq FROM (SELECT seq, row_number() OVER (PARTITION BY peer ORDER BY seq DESC) AS place
			FROM events WHERE type = ?) WHERE place > ?`, []any{typ, share(list, ofType)}, func(scan func(...any) error) error {
			var seq int64
			err := scan(&seq)
			out = append(out, seq)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// share returns the largest bound such that the counts, each limited to it, add up to at
// most keep.
func share(counts []int, keep int) int {
	slices.Sort(counts)
	most := 0
	for i, n := range counts {
		each := max(keep, 0) / (len(counts) - i)
		if n > each {
			return each
		}
		keep, most = keep-n, n
	}
	return most // everything fits
}

func sum(list []int) int {
	n := 0
	for _, v := range list {
		n += v
	}
	return n
}
