package blob

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/wire"
)

// moved counts the bytes that accounts have transferred.
type moved struct {
	mu sync.Mutex
	n  map[string]int64
}

func (m *moved) add(account string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n[account] += int64(n)
}

func (m *moved) of(account string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[account]
}

// flood moves steps of an account's transfers until ctx ends, and records the longest wait of a step.
func flood(ctx context.Context, wg *sync.WaitGroup, s *shaper, m *moved, account string, transfers int, longest *moved) {
	for range transfers {
		wg.Go(func() {
			if s.enter(ctx, account) != nil {
				return
			}
			defer s.leave(account)
			for {
				began := time.Now()
				if s.wait(ctx, account, stepSize) != nil {
					return
				}
				longest.mu.Lock()
				longest.n[account] = max(longest.n[account], int64(time.Since(began)))
				longest.mu.Unlock()
				m.add(account, stepSize)
			}
		})
	}
}

// All transfers together reach the bound, and an account with one of them moves as much as an account
// with 32.
func TestShapeIsFairBetweenAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, over = 8 << 20, 60 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		s := newShaper(rate)
		m, longest := &moved{n: map[string]int64{}}, &moved{n: map[string]int64{}}
		var wg sync.WaitGroup
		flood(ctx, &wg, s, m, "many", 32, longest)
		synctest.Wait()
		flood(ctx, &wg, s, m, "one", 1, longest)
		flood(ctx, &wg, s, m, "other", 1, longest)
		time.Sleep(over)
		synctest.Wait()
		total := m.of("many") + m.of("one") + m.of("other")
		if most := int64(rate * (over + shapeBurst) / time.Second); total > most+stepSize || total < most-most/50 {
			t.Errorf("%d bytes moved in %s, the bound is %d", total, over, most)
		}
		for _, name := range []string{"many", "one", "other"} {
			if share := float64(m.of(name)) / float64(total); share < 0.32 || share > 0.35 {
				t.Errorf("%s: %.3f of the bandwidth, want a third", name, share)
			}
		}
		cancel()
		wg.Wait()
		if len(s.lanes) != 0 || len(s.fifo) != 0 || len(s.ring) != 0 || s.running != 0 {
			t.Errorf("left behind: %d accounts, %d steps, %d in the ring, %d transfers", len(s.lanes), len(s.fifo), len(s.ring), s.running)
		}
	})
}

// However the transfers are spread over accounts, no step waits so long that its client or the server
// assumes a stalled connection.
func TestShapeKeepsEveryTransferMoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = minimum
		ctx, cancel := context.WithCancel(t.Context())
		s := newShaper(rate)
		m, longest := &moved{n: map[string]int64{}}, &moved{n: map[string]int64{}}
		var wg sync.WaitGroup
		flood(ctx, &wg, s, m, "first", 32, longest) // has all the bandwidth while alone
		synctest.Wait()
		for i := range 40 { // more accounts than can be admitted
			flood(ctx, &wg, s, m, string(rune('A'+i)), 2, longest)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for name, wait := range longest.n {
			if time.Duration(wait) > defaultStall/2 {
				t.Errorf("%s waited %s for a step", name, time.Duration(wait))
			}
		}
		if len(m.n) < 2*rate/leastRate-32 {
			t.Errorf("only %d accounts were admitted", len(m.n))
		}
		cancel()
		wg.Wait()
	})
}

// minimum is the lowest bandwidth that the configuration accepts.
const minimum = 1 << 20

// A transfer that cannot be admitted waits, is admitted when there is room (the account with the fewest
// transfers first), and is refused in the end.
func TestShapeDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShaper(2 * leastRate) // room for two, at most four
		must(t, s.enter(t.Context(), "a"))
		must(t, s.enter(t.Context(), "a"))
		let := make(chan string, 2)
		enter := func(ctx context.Context, account string) {
			if err := s.enter(ctx, account); err == nil {
				let <- account
			}
		}
		go enter(t.Context(), "a")
		synctest.Wait()
		must(t, s.enter(t.Context(), "b")) // its first one, at once
		go enter(t.Context(), "b")
		synctest.Wait()
		if len(let) != 0 {
			t.Fatal("more transfers were admitted than the limit")
		}
		s.leave("b")
		synctest.Wait()
		if len(let) != 1 || <-let != "b" {
			t.Fatal("the account without a transfer was not admitted first")
		}
		s.leave("b")
		s.leave("a")
		synctest.Wait()
		if len(let) != 1 || <-let != "a" {
			t.Fatal("nobody was admitted")
		}
		began := time.Now()
		err := s.enter(t.Context(), "a")
		if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.CodeRateLimited || e.RetryAfter == 0 {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited != doorWait {
			t.Errorf("waited %s", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.enter(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		s.leave("a")
		s.leave("a")
		if len(s.lanes) != 0 || s.running != 0 {
			t.Errorf("left behind: %v, %d", s.lanes, s.running)
		}
	})
}
