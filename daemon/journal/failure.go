package journal

import (
	"context"
	"errors"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Attempts of a handler on one event (cli.md, listen --exec).
const (
	// DefaultAttempts is how often an event is tried before it is a dead
	// letter: with the pauses below that is about two hours.
	DefaultAttempts = 30
	// attemptPause and attemptPauseMax bound the pause after a failure, which
	// doubles with each.
	attemptPause    = time.Second
	attemptPauseMax = 5 * time.Minute
	// deadKept is how many dead letters of a consumer are shown.
	deadKept = 100
)

// Fail counts a failed attempt of a consumer's handler, durably, so that an
// event that kills its handler is not tried for ever. After the bound the event
// is a dead letter and the cursor passes it. Since a cursor passes all that is
// before it, too, only the first event that is not acknowledged can fail.
func (j *Journal) Fail(ctx context.Context, p local.FailParams) (local.Failed, error) {
	var out local.Failed
	var cursor int64
	err := j.store.Update(ctx, func(tx *store.Tx) error {
		c, err := tx.Consumer(p.Consumer)
		if err != nil {
			return noConsumer(p.Consumer, err)
		}
		seq, err := ackSeq(tx, p.ID)
		if err != nil {
			return err
		}
		if seq <= c.Cursor {
			return local.Errorf(local.CodeUsage, "the consumer %q has passed the event already", p.Consumer)
		}
		if s := j.subscription(p.Consumer); s != nil && s.owes(seq) {
			return local.Errorf(local.CodeUsage, "events before it are not acknowledged")
		}
		n, err := tx.AddFailure(p.Consumer, seq, j.now().UnixMilli())
		if err != nil {
			return err
		}
		out = local.Failed{Attempts: n, Dead: n >= j.attempts}
		if !out.Dead {
			out.RetryAfter = pauseAfter(n).Seconds()
			return nil
		}
		cursor = seq
		if err := tx.BuryFailure(p.Consumer, seq, deadKept); err != nil {
			return err
		}
		return tx.AckConsumer(p.Consumer, seq, j.now().UnixMilli())
	})
	if err != nil {
		return local.Failed{}, toLocal(err)
	}
	if out.Dead {
		j.passed(p.Consumer, cursor)
	}
	return out, nil
}

// pauseAfter is the pause after the n-th failed attempt.
func pauseAfter(n int) time.Duration {
	d := attemptPause
	for ; n > 1 && d < attemptPauseMax; n-- {
		d *= 2
	}
	return min(d, attemptPauseMax)
}

// deadLetters describes the dead letters of a consumer.
func deadLetters(tx *store.Tx, consumer string) ([]local.DeadLetter, error) {
	list, err := tx.DeadLetters(consumer)
	if err != nil {
		return nil, err
	}
	out := []local.DeadLetter{}
	for _, f := range list {
		id, err := tx.EventID(f.Seq)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out = append(out, local.DeadLetter{Seq: f.Seq, ID: id, Attempts: f.Attempts, Time: fromMS(f.LastMS)})
	}
	return out, nil
}
