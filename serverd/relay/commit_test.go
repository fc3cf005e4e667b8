package relay

import (
	"testing"

	"secmsg/crypto/key"
)

// TestDeletesAreSmall: however many rows are acknowledged at once, appends wait for short transactions
// only, and every row is deleted once.
func TestDeletesAreSmall(t *testing.T) {
	w := newWorld(t, nil)
	rows := make(map[*device][]int64)
	next := int64(0)
	for i, n := range []int{1, deleteRows - 1, deleteRows, 3*deleteRows + 7, 10, 0} {
		d := w.relay.devices.acquire(key.DeviceID{byte(i)})
		defer d.release()
		d.mu.Lock()
		d.acked = make(map[int64]struct{})
		for range n {
			next++
			rows[d] = append(rows[d], next)
			d.acked[next] = struct{}{}
			d.retain()
		}
		d.mu.Unlock()
	}
	if !w.relay.delete.delete(rows) {
		t.Fatal("failed")
	}
	if most := w.store.mostRows.Load(); most > deleteRows {
		t.Errorf("%d rows in one transaction", most)
	}
	if n := w.store.deletes.Load(); n < 6 || n > 9 {
		t.Errorf("%d transactions", n)
	}
	for d := range rows {
		equal(t, "rows that are not deleted", len(d.acked), 0)
	}
}

// TestPagesOfManyDevices: the memory of many devices that reconnect at once is bounded.
func TestPagesOfManyDevices(t *testing.T) {
	w := newWorld(t, nil)
	for _, n := range []int64{0, 1, 100, 10_000, 1_000_000} {
		w.relay.counters.replicas.Store(n)
		page := int64(w.relay.pageBytes())
		if page > feedBytes || page < leastFeedBytes || n <= 100 && page != feedBytes ||
			page > leastFeedBytes && n*page > w.relay.limits.MemoryBytes/feedShare {
			t.Errorf("%d devices: %d bytes each", n, page)
		}
	}
	w.relay.counters.replicas.Store(0)
}
