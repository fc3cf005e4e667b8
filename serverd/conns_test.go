package serverd

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"secmsg/config"
)

// TestStrangersAreBoundedExactly lets many addresses connect, disconnect and show tokens at the same
// time. At no moment does an address, or do all together, have more connections than allowed, and every
// slot is released.
func TestStrangersAreBoundedExactly(t *testing.T) {
	const perAddress, total = 5, 17
	g := newGate(config.ConnLimits{PerAddress: perAddress, Total: total, New: config.Rate{Burst: 1 << 30, Every: 1}}, time.Now)
	var mu sync.Mutex
	now, all, most := map[string]int{}, 0, 0
	change := func(key string, by int) {
		mu.Lock()
		defer mu.Unlock()
		now[key] += by
		all += by
		most = max(most, now[key])
		if now[key] > perAddress || all > total {
			t.Errorf("%s has %d of %d connections, all have %d of %d", key, now[key], perAddress, all, total)
		}
	}
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			key := fmt.Sprintf("192.0.2.%d", worker%6)
			for i := range 2000 {
				if !g.enter(key) {
					continue
				}
				c := &gatedConn{Conn: nopConn{}, gate: g, key: key}
				g.open.Add(1)
				change(key, 1)
				change(key, -1) // before the gate releases it
				if i%3 == 0 {
					c.welcome()
				}
				_ = c.Close()
				_ = c.Close() // a second close releases nothing
			}
		})
	}
	wg.Wait()
	st := g.counters()
	if st["without_token"] != 0 || st["open"] != 0 || st["without_token_most"] > perAddress || st["without_token_most"] < int64(most) {
		t.Errorf("afterwards: %v, most seen %d", st, most)
	}
	for i := range perAddress + 1 {
		if got := g.enter("198.51.100.1"); got != (i < perAddress) {
			t.Errorf("connection %d: %v", i+1, got)
		}
	}
}

// nopConn is a connection of which only Close is used.
type nopConn struct{ net.Conn }

func (nopConn) Close() error { return nil }
