package files

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"math/big"
	"syscall"
	"time"

	"secmsg/rpc/wire"
)

// Bounds of the delay between tries.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 30 * time.Second
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

// backoff waits longer after each failure, but only until the server can be reached again.
type backoff struct {
	s     *Service
	tries int
	odd   int // number of lasting failures
}

// enough reports whether there were too many lasting failures, err included.
func (b *backoff) enough(err error) bool {
	if lasting(err) {
		b.odd++
	}
	return b.odd >= lastingTries
}

// limitedTries bounds the delay to a few seconds when the server has no room for a part at
// the moment: that part may be the only one the account is sending.
const limitedTries = 3

// limited reports whether the server has no room for a part at the moment.
func (b *backoff) limited(err error) bool {
	if wire.CodeOf(err) != wire.CodeRateLimited {
		return false
	}
	b.tries = min(b.tries, limitedTries)
	return true
}

// wait waits after a failure: twice as long as the last time, with random jitter of up to a
// quarter in both directions, and at least as long as the server asked for.
func (b *backoff) wait(ctx context.Context, err error) error {
	d := retryMin << min(b.tries, 10)
	b.tries++
	d = min(d, retryMax)
	if n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1)); err == nil {
		d += time.Duration(n.Int64()) - d/4
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		d = max(d, e.Wait())
	}
	t := time.NewTimer(d)
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
