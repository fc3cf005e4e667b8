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

// Waits between tries.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 30 * time.Second
)

// lastingTries is how often an answer that makes no sense is met before what was
// asked is given up: over two minutes, in which a proxy or a store that is just
// being changed comes to its senses.
const lastingTries = 9

// lasting reports whether an error is one that rarely passes: see lastingTries.
func lasting(err error) bool { return errors.Is(err, ErrAnswer) || errors.Is(err, ErrTicket) }

// barred reports whether a local error will not pass by itself: the spool, or what
// else belongs to the profile, must not be written.
func barred(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// final reports whether trying the same again makes no sense.
func final(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeNotFound, wire.CodeQuota, wire.CodeTooLarge, wire.CodeConflict, wire.CodeMalformed:
		return true
	}
	return false
}

// backoff waits longer after each failure, and no longer once the server can be
// reached again.
type backoff struct {
	s     *Service
	tries int
	odd   int // failures that rarely pass
}

// enough reports whether a failure is one that rarely passes, and has come often enough.
func (b *backoff) enough(err error) bool {
	if lasting(err) {
		b.odd++
	}
	return b.odd >= lastingTries
}

// limitedTries bounds how long a part waits that the server has no room for at the
// moment, to a few seconds: it may be all that the account has on its way.
const limitedTries = 3

// limited reports whether the server has no room for a part at the moment.
func (b *backoff) limited(err error) bool {
	if wire.CodeOf(err) != wire.CodeRateLimited {
		return false
	}
	b.tries = min(b.tries, limitedTries)
	return true
}

// wait waits after a failure: for twice as long as the last time, with up to
// half of it by chance, and at least as long as the server asked for.
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
