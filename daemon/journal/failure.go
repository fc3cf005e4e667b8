package journal

import (
	"context"
	"errors"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/backoff"
	"secmsg/rpc/local"
)

const (
	// attemptPause and attemptPauseMax bound the delay after a failure. It doubles with
	// each failure.
	attemptPause    = time.Second
	attemptPauseMax = 5 * time.Minute
	// deadKept is the number of dead letters listed for a consumer.
	deadKept = 100
	// maxRetries and maxDeadAfter bound the settings of a subscriber.
	maxRetries   = 1_000_000
	maxDeadAfter = 366 * 24 * time.Hour
)

// checkRetries validates the retry settings.
func checkRetries(p local.SubscribeParams) error {
	switch {
	case p.Retry == nil && p.DeadLetterAfter == 0:
		return nil
	case p.Consumer == "":
		return local.Errorf(local.CodeUsage, "retry and dead_letter_after need a consumer")
	case p.Retry != nil && (*p.Retry < 0 || *p.Retry > maxRetries):
		return local.Errorf(local.CodeUsage, "retry must be 0 to %d", maxRetries)
	case !(p.DeadLetterAfter >= 0) || p.DeadLetterAfter > maxDeadAfter.Seconds():
		return local.Errorf(local.CodeUsage, "dead_letter_after must be at most a year, in seconds")
	}
	return nil
}

// saveRetries saves the retry settings of a subscriber with its consumer.
func saveRetries(tx *store.Tx, name string, p local.SubscribeParams) error {
	if p.Retry != nil {
		if err := tx.SetConsumerRetry(name, *p.Retry); err != nil {
			return err
		}
	}
	if p.DeadLetterAfter > 0 {
		return tx.SetConsumerDeadAfter(name, max(int64(p.DeadLetterAfter*1000), 1))
	}
	return nil
}

// retriesOf returns how often an event is retried before it becomes a dead letter.
func (j *Journal) retriesOf(c store.Consumer) int {
	if c.Retry == store.NotSet {
		return j.retries
	}
	return int(c.Retry)
}

// deadAfterOf returns how long an event is retried before it becomes a dead letter.
func (j *Journal) deadAfterOf(c store.Consumer) time.Duration {
	if c.DeadAfterMS == store.NotSet {
		return j.deadAfter
	}
	return time.Duration(c.DeadAfterMS) * time.Millisecond
}

// Fail counts a failed attempt of a consumer's handler durably, so that an event that
// crashes its handler is not retried forever. After the number of attempts or the time set
// for the consumer, the event becomes a dead letter and the cursor passes it. Only the
// first unacknowledged event can fail, because the cursor passes everything before it, too.
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
			return local.Errorf(local.CodeUsage, "consumer %q is already past this event", p.Consumer)
		}
		if s := j.subscription(p.Consumer); s != nil && s.owes(seq) {
			return local.Errorf(local.CodeUsage, "earlier events are not acknowledged yet")
		}
		// Measure in profile time, so that a jump of the wall clock has no effect.
		now := j.store.ProfileTime()
		n, first, err := tx.AddFailure(p.Consumer, seq, j.now().UnixMilli(), now.UnixMilli())
		if err != nil {
			return err
		}
		left := j.deadAfterOf(c) - now.Sub(time.UnixMilli(first))
		out = local.Failed{Attempts: n, Dead: n > j.retriesOf(c) || left <= 0}
		if !out.Dead {
			out.RetryAfter = min(pauseAfter(n), left).Seconds()
			return nil
		}
		cursor = seq
		if err := tx.BuryFailure(p.Consumer, seq, deadKept); err != nil {
			return err
		}
		return tx.AckConsumer(p.Consumer, seq, j.now().UnixMilli())
	})
	if err != nil {
		return local.Failed{}, err
	}
	if out.Dead {
		j.logger.Warn("a consumer's handler kept failing: the event is now a dead letter", "consumer", p.Consumer, "event", p.ID, "attempts", out.Attempts)
		j.passed(p.Consumer, cursor)
	}
	return out, nil
}

// pauseAfter returns the delay after the n-th failed attempt.
func pauseAfter(n int) time.Duration {
	return backoff.New(attemptPause, attemptPauseMax).After(n-1, 0)
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
