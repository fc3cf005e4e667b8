package clock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/serverd/store"
)

const year = 365 * 24 * time.Hour

// memory is a store in memory with a disk that can be full.
type memory struct {
	mu    sync.Mutex
	state store.ClockState
	full  bool
}

func (m *memory) ClockState(context.Context) (store.ClockState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

func (m *memory) SetClockState(_ context.Context, c store.ClockState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return store.ErrDisk
	}
	m.state = c
	return nil
}

// rig is a clock with a settable wall clock, in a synctest bubble whose time is the true time.
type rig struct {
	t      *testing.T
	store  memory
	offset time.Duration
	clock  *Clock
}

func (r *rig) wall() time.Time { return time.Now().Add(r.offset) }

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.clock, err = Open(r.t.Context(), &r.store, r.wall, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) restart() {
	r.t.Helper()
	if err := r.clock.Save(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

func (r *rig) confirm() {
	r.t.Helper()
	if _, err := r.clock.Confirm(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// want checks the difference between the server's time and the true time, and whether the clock is
// held.
func (r *rig) want(what string, off time.Duration, held bool) {
	r.t.Helper()
	_, got := r.clock.Held()
	if d := r.clock.Now().Round(0).Sub(time.Now().Round(0)); got != held || d.Abs() > off.Abs()+time.Second || d.Abs() < off.Abs()-time.Second {
		r.t.Errorf("%s: %v from the truth, held %v; want %v, %v", what, d, got, off, held)
	}
}

func testRig(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		r.open()
		f(r)
	})
}

func TestJumpsAreNotFollowed(t *testing.T) {
	for name, jump := range map[string]time.Duration{"ahead": 10 * year, "back": -10 * year, "two hours": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			testRig(t, func(r *rig) {
				r.want("at first", 0, false)
				r.offset = jump
				r.want("after the jump", 0, true)
				time.Sleep(48 * time.Hour)
				r.want("two days later", 0, true)
				if ahead, _ := r.clock.Held(); (ahead - jump).Abs() > time.Second {
					t.Errorf("says %v", ahead)
				}
				r.restart()
				r.want("a restart confirms nothing", 0, true)
				r.offset = 0
				r.want("nor does the clock that is right again", 0, true)
				r.confirm()
				r.want("confirmed", 0, false)
				r.restart()
				r.want("for good", 0, false)
			})
		})
	}
}

func TestConfirmBelievesTheWallClock(t *testing.T) {
	testRig(t, func(r *rig) {
		r.offset = year
		r.want("jumped", 0, true)
		r.store.full = true
		if _, err := r.clock.Confirm(r.t.Context()); !errors.Is(err, store.ErrDisk) {
			t.Errorf("full disk: %v", err)
		}
		r.want("not confirmed", 0, true)
		r.store.full = false
		if moved, err := r.clock.Confirm(r.t.Context()); err != nil || moved < year-time.Second {
			t.Errorf("%v %v", moved, err)
		}
		r.want("confirmed", year, false)
	})
}

func TestSmallCorrectionsAreFollowed(t *testing.T) {
	testRig(t, func(r *rig) {
		for range 5 {
			time.Sleep(time.Minute)
			r.offset += 50 * time.Minute
			r.want("a small step", r.offset, false)
		}
	})
}

func TestStart(t *testing.T) {
	for _, c := range []struct {
		name        string
		away, wrong time.Duration
		held        bool
	}{
		{"at once", 0, 0, false},
		{"after a week's end", 6 * 24 * time.Hour, 0, false},
		{"a little back", 0, -30 * time.Minute, false},
		{"back", 0, -2 * time.Hour, true},
		{"ten years back", time.Hour, -10 * year, true},
		{"ten years ahead", time.Hour, 10 * year, true},
		{"after a month", 30 * 24 * time.Hour, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			testRig(t, func(r *rig) {
				if err := r.clock.Save(r.t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.away)
				r.offset = c.wrong
				r.open()
				off := c.wrong
				if c.held {
					off = c.away // it continues from where it was
				}
				r.want("after the start", off, c.held)
			})
		})
	}
}

func TestRunSaves(t *testing.T) {
	testRig(t, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.clock.Run(ctx) }()
		time.Sleep(saveEvery + time.Second)
		saved, _ := r.store.ClockState(ctx)
		if saved.At.IsZero() || saved.Held {
			t.Errorf("after a minute: %+v", saved)
		}
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if last, _ := r.store.ClockState(r.t.Context()); !last.At.After(saved.At) {
			t.Error("not saved at the end")
		}
	})
}
