package journal

import (
	"context"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// maxConsumers bounds the consumers of one profile, and maxName the length of a consumer's
// name in bytes.
const (
	maxConsumers = 1000
	maxName      = 64
)

// position returns the seq after which events are wanted for a value of --since: empty
// means from now on, a number is a seq, anything else is an event id or a time.
func (j *Journal) position(tx *store.Tx, since string) (int64, error) {
	newest, err := tx.NewestSeq()
	if err != nil || since == "" {
		return newest, err
	}
	if seq, err := strconv.ParseInt(since, 10, 64); err == nil {
		if seq < 0 {
			return 0, local.Errorf(local.CodeUsage, "the sequence number must not be negative: %d", seq)
		}
		return min(seq, newest), nil
	}
	if t, err := time.Parse(time.RFC3339, since); err == nil {
		return tx.SeqBefore(t.UnixMilli())
	}
	seq, err := tx.SeqOfEvent(since)
	if errors.Is(err, store.ErrNotFound) {
		return 0, local.Errorf(local.CodeNotFound, "no event has the id %q", since)
	}
	return seq, err
}

// openConsumer returns the cursor of a consumer, and creates it at p.Since if it is new.
// The retry settings for its handler only change if p sets them.
func (j *Journal) openConsumer(tx *store.Tx, p local.SubscribeParams) (int64, error) {
	name, since := p.Consumer, p.Since
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return 0, local.Errorf(local.CodeUsage, "the name of a consumer must have 1 to %d bytes", maxName)
	}
	c, err := tx.Consumer(name)
	if err == nil {
		if since != "" {
			return 0, local.Errorf(local.CodeUsage, "consumer %q already exists and continues at its cursor, so --since cannot be used", name)
		}
		return c.Cursor, saveRetries(tx, name, p)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	all, err := tx.Consumers()
	if err != nil {
		return 0, err
	}
	if len(all) >= maxConsumers {
		return 0, local.Errorf(local.CodeQuota, "there already are %d consumers", len(all)).WithHint("remove one with: secmsg consumer remove NAME")
	}
	cursor, err := j.position(tx, since)
	if err != nil {
		return 0, err
	}
	err = tx.InsertConsumer(store.Consumer{Name: name, Cursor: cursor, CreatedMS: j.now().UnixMilli(), Retry: store.NotSet, DeadAfterMS: store.NotSet})
	if err != nil {
		return 0, err
	}
	return cursor, saveRetries(tx, name, p)
}

// passed tells a consumer's subscription, if there is one, where the cursor is.
func (j *Journal) passed(consumer string, cursor int64) {
	if s := j.subscription(consumer); s != nil {
		s.acked(cursor)
	}
}

// subscription returns a consumer's subscription, or nil.
func (j *Journal) subscription(consumer string) *Subscription {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.attached[consumer]
}

func ackSeq(tx *store.Tx, id string) (int64, error) {
	newest, err := tx.NewestSeq()
	if err != nil {
		return 0, err
	}
	if seq, err := strconv.ParseInt(id, 10, 64); err == nil {
		if seq < 0 || seq > newest {
			return 0, local.Errorf(local.CodeNotFound, "no event has the sequence number %d", seq)
		}
		return seq, nil
	}
	seq, err := tx.SeqOfEvent(id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, local.Errorf(local.CodeNotFound, "no event has the id %q", id)
	}
	return seq, err
}

// Consumers lists the consumers by name.
func (j *Journal) Consumers(ctx context.Context) (local.Consumers, error) {
	out := local.Consumers{Consumers: []local.Consumer{}}
	err := j.store.View(ctx, func(tx *store.Tx) error {
		list, err := tx.Consumers()
		if err != nil {
			return err
		}
		if out.Newest, err = tx.NewestSeq(); err != nil {
			return err
		}
		if out.Oldest, err = tx.OldestSeq(); err != nil {
			return err
		}
		for _, c := range list {
			dead, err := deadLetters(tx, c.Name)
			if err != nil {
				return err
			}
			out.Consumers = append(out.Consumers, local.Consumer{
				Name: c.Name, Cursor: c.Cursor, Lag: out.Newest - c.Cursor, Attached: j.subscription(c.Name) != nil,
				Created: fromMS(c.CreatedMS), Acked: fromMS(c.AckedMS), Missed: c.Missed, Dead: dead, DeadLetters: c.Dead,
				Retry: j.retriesOf(c), DeadLetterAfter: j.deadAfterOf(c).Seconds(),
			})
		}
		return nil
	})
	return out, err
}

// RemoveConsumer removes a consumer and waits for the end of its subscription. A
// subscription moves the cursor of its name when it ends, which must not be that of a new
// consumer of the same name.
func (j *Journal) RemoveConsumer(ctx context.Context, name string) error {
	err := j.store.Update(ctx, func(tx *store.Tx) error { return noConsumer(name, tx.DeleteConsumer(name)) })
	if err != nil {
		return err
	}
	if s := j.subscription(name); s != nil {
		s.end(local.Errorf(local.CodeNotFound, "consumer %q was removed", name))
		<-s.done
	}
	return nil
}

func noConsumer(name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return local.Errorf(local.CodeNotFound, "consumer %q does not exist", name)
	}
	return err
}

func fromMS(ms int64) local.Time {
	if ms == 0 {
		return local.Time{}
	}
	return local.Time{Time: time.UnixMilli(ms)}
}
