package files

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"secmsg/rpc/backoff"
	"secmsg/rpc/wire"
)

// Bounds of the delay between tries.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 30 * time.Second
	// pauseMax bounds the delay before a file is fetched automatically again.
	pauseMax = time.Minute
)

// lastingTries bounds how often a request that got a nonsensical answer is repeated. It
// takes over two minutes, enough for a proxy or a store that is being reconfigured.
const lastingTries = 9

// lasting reports whether an error rarely passes, see lastingTries.
func lasting(err error) bool { return errors.Is(err, ErrAnswer) || errors.Is(err, ErrTicket) }

// unwritable reports whether a local error is permanent: the profile's directory must not
// be written.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// final reports whether a retry is pointless.
func final(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeNotFound, wire.CodeQuota, wire.CodeTooLarge, wire.CodeConflict, wire.CodeMalformed:
		return true
	}
	return false
}

// wish returns how long the server asked to wait, or 0.
func wish(err error) time.Duration {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Wait()
	}
	return 0
}

// retries waits longer after each failure, but only until the server can be reached again.
type retries struct {
	s       *Service
	tries   int
	lasting int // number of lasting failures
}

// enough reports whether there were too many lasting failures, err included.
func (b *retries) enough(err error) bool {
	if lasting(err) {
		b.lasting++
	}
	return b.lasting >= lastingTries
}

// limitedTries bounds the delay to a few seconds when the server has no room for a part at
// the moment: that part may be the only one the account is sending.
const limitedTries = 3

// limited reports whether the server has no room for a part at the moment.
func (b *retries) limited(err error) bool {
	if wire.CodeOf(err) != wire.CodeRateLimited {
		return false
	}
	b.tries = min(b.tries, limitedTries)
	return true
}

// wait waits after a failure: about twice as long as the last time, and at least as long as
// the server asked for.
func (b *retries) wait(ctx context.Context, err error) error {
	t := time.NewTimer(backoff.New(retryMin, retryMax).After(b.tries, wish(err)))
	b.tries++
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-b.s.reached():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
