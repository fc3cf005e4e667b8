package files

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"time"

	"secmsg/rpc/wire"
)

// Waits between tries.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 30 * time.Second
)

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
