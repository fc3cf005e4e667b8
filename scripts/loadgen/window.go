package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// window counts the messages that may be sent before others are acknowledged.
type window struct {
	size int

	mu    sync.Mutex
	free  int           // guarded by mu
	freed chan struct{} // holds one token when free may have grown
}

func newWindow(size int) *window {
	return &window{size: size, free: size, freed: make(chan struct{}, 1)}
}

// take waits until there is room, and takes up to limit.
func (w *window) take(ctx context.Context, limit int) (int, error) {
	for {
		w.mu.Lock()
		n := min(w.free, limit)
		w.free -= n
		w.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		select {
		case <-w.freed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// drained waits until everything is acknowledged.
func (w *window) drained(ctx context.Context) error {
	for {
		w.mu.Lock()
		open := w.size - w.free
		w.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-w.freed:
		case <-ctx.Done():
			return fmt.Errorf("%d messages were not acknowledged", open)
		}
	}
}

func (w *window) give(n int) {
	w.mu.Lock()
	w.free += n
	w.mu.Unlock()
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

// ended ignores the error of a line that was closed after the load.
func (r *run) ended(what string, err error) error {
	if r.stopping.Load() || errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
