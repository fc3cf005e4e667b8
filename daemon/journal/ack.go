package journal

import (
	"context"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// maxAcks bounds the acknowledgements in one transaction.
const maxAcks = 256

// ack is an acknowledgement that waits for its transaction.
type ack struct {
	p      local.AckParams
	result chan error
	lead   chan struct{} // receives a value when it is this one's turn to write
}

// Ack moves a consumer's cursor forward to a seq or an event id: all events up to it are
// done. A cursor never moves back. Concurrent acknowledgements share one transaction; each
// is answered when it is durable.
func (j *Journal) Ack(ctx context.Context, p local.AckParams) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a := &ack{p: p, result: make(chan error, 1), lead: make(chan struct{}, 1)}
	j.ackMu.Lock()
	j.acks = append(j.acks, a)
	if len(j.acks) == 1 {
		a.lead <- struct{}{} // no other is writing
	}
	j.ackMu.Unlock()
	select {
	case <-a.lead:
		j.writeAcks(context.WithoutCancel(ctx))
		return <-a.result
	case err := <-a.result:
		return err
	}
}

// writeAcks writes and answers the waiting acknowledgements, and then passes the lead to
// the next one that arrived meanwhile. The first of j.acks calls it.
func (j *Journal) writeAcks(ctx context.Context) {
	j.ackMu.Lock()
	batch := j.acks[:min(len(j.acks), maxAcks):len(j.acks)]
	j.ackMu.Unlock()
	refused := make([]error, len(batch))
	cursors := make(map[string]int64)
	err := j.store.Update(ctx, func(tx *store.Tx) error {
		clear(cursors)
		for i, a := range batch {
			cursor, err := ackedSeq(tx, a.p)
			if err != nil {
				refused[i] = err // fail only this one
				continue
			}
			cursors[a.p.Consumer] = max(cursors[a.p.Consumer], cursor)
		}
		for name, cursor := range cursors {
			if err := tx.ForgetFailures(name, cursor); err != nil {
				return err
			}
			if err := tx.AckConsumer(name, cursor, j.now().UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for name, cursor := range cursors {
			j.passed(name, cursor)
		}
	}
	j.ackMu.Lock()
	if j.acks = j.acks[len(batch):]; len(j.acks) > 0 {
		j.acks[0].lead <- struct{}{}
	}
	j.ackMu.Unlock()
	for i, a := range batch {
		if refused[i] == nil {
			refused[i] = err
		}
		a.result <- refused[i]
	}
}

// ackedSeq returns the seq of an acknowledgement.
func ackedSeq(tx *store.Tx, p local.AckParams) (int64, error) {
	if _, err := tx.Consumer(p.Consumer); err != nil {
		return 0, noConsumer(p.Consumer, err)
	}
	return ackSeq(tx, p.ID)
}
