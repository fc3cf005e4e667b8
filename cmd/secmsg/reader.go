package main

import (
	"context"
	"sync"
	"time"
)

// whileRead returns a context that ends with the cause errReaderLeft when the reader
// of standard output closes the pipe. A command such as listen would otherwise not
// notice until it has an event to write. stop ends the watch.
func (a *app) whileRead(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	var wg sync.WaitGroup
	wg.Go(func() {
		if a.readerLeft(ctx) {
			cancel(errReaderLeft)
		}
	})
	return ctx, func() {
		cancel(nil)
		wg.Wait()
	}
}

// readerLeft waits until the reader of standard output has closed the pipe. It returns
// false if ctx ends before.
func (a *app) readerLeft(ctx context.Context) bool {
	tick := time.NewTicker(unreadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		if unread(a.stdout) {
			return true
		}
	}
}
