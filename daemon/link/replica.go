package link

import (
	"context"
	"fmt"
	"sync"
	"time"

	"secmsg/rpc/wire"
)

const (
	pathReplica = "/v1/replica"
	// deliverQueue is the number of frames that may wait during a commit; further ones wait
	// in the socket. Together with the frame limit it bounds memory.
	deliverQueue = 16
	// deliverBatch is the maximum number of envelopes in one commit: a burst is one
	// transaction, and a long backlog is acknowledged in steps.
	deliverBatch = wire.MaxBatch
)

// batch holds the envelopes of consecutive frames, and the number of the last one.
type batch struct {
	envelopes []*wire.Envelope
	through   uint64
}

// runReplica reopens the replica connection until ctx ends or the error is final. value is
// the confirmed fence value of the contact connection.
func (l *Link) runReplica(ctx context.Context, value []byte) error {
	wait := newWaiter(l.timing, l.network)
	for {
		kick := l.kicked()
		wait.begin()
		start := time.Now()
		opened, err := l.replicaOnce(ctx, value)
		if opened {
			kick = l.kicked()
		}
		l.handler.Down(wire.RoleReplica, at(l.hostPort, err))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if bye := fatalReason(err); bye != wire.Reason_REASON_UNSPECIFIED {
			// The next fence shows whether this copy really is outdated.
			return err
		}
		l.logger.Info("replica connection ended", "error", err)
		if opened && time.Since(start) >= l.timing.Stable {
			wait.reset()
		}
		if !wait.sleep(ctx, kick, err) {
			return context.Cause(ctx)
		}
	}
}

func (l *Link) replicaOnce(ctx context.Context, value []byte) (opened bool, err error) {
	c, err := l.open(ctx, pathReplica, wire.RoleReplica)
	if err != nil {
		return false, err
	}
	defer c.close()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	frame, err := wire.Marshal(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{
		Open: &wire.ReplicaOpen{Value: value, Protocol: wire.ProtocolVersion}}})
	if err != nil {
		return false, err
	}
	if err := c.enqueue(ctx, frame); err != nil {
		return false, err
	}
	f, err := readFrame(c, l.timing.Open, new(wire.ReplicaServer))
	if err != nil {
		return false, err
	}
	if f.GetOpened() == nil {
		return false, fmt.Errorf("%w: replica not opened", ErrProtocol)
	}
	l.handler.Up(wire.RoleReplica, time.UnixMilli(f.GetOpened().GetTimeMs()))
	return true, l.receive(ctx, c, f.GetOpened().GetBacklog())
}

// receive reads deliveries while another goroutine commits and acknowledges them, so
// envelopes that arrive during a commit share the next one. backlog is the number of
// envelopes that waited when the connection was opened.
func (l *Link) receive(ctx context.Context, c *conn, backlog uint64) error {
	if backlog == 0 {
		l.handler.CaughtUp()
	}
	queue := make(chan batch, deliverQueue)
	var wg sync.WaitGroup
	wg.Go(func() { l.commit(ctx, c, queue, backlog) })
	defer wg.Wait()
	defer close(queue)
	next := uint64(1)
	for {
		f, err := readFrame(c, 0, new(wire.ReplicaServer))
		if err != nil {
			return err
		}
		d := f.GetDeliver()
		if d == nil {
			continue // a frame of a later version
		}
		if d.GetFirst() != next || len(d.GetEnvelopes()) == 0 || len(d.GetEnvelopes()) > wire.MaxBatch {
			return fmt.Errorf("%w: %d envelopes from %d, expected from %d", ErrProtocol, len(d.GetEnvelopes()), d.GetFirst(), next)
		}
		next += uint64(len(d.GetEnvelopes()))
		select {
		case queue <- batch{envelopes: d.GetEnvelopes(), through: next - 1}:
		case <-c.done:
			return c.err
		}
	}
}

// commit passes batches to the handler and acknowledges committed ones.
func (l *Link) commit(ctx context.Context, c *conn, queue <-chan batch, backlog uint64) {
	behind := backlog > 0
	for b := range queue {
	more:
		for len(b.envelopes) < deliverBatch {
			select {
			case other, ok := <-queue:
				if !ok {
					break more
				}
				b.envelopes = append(b.envelopes, other.envelopes...)
				b.through = other.through
			default:
				break more
			}
		}
		select {
		case <-c.done:
			continue // drain: the server sends them again on the next connection
		default:
		}
		steps, err := l.handler.Deliver(ctx, b.envelopes)
		if err != nil {
			c.fail(fmt.Errorf("deliver: %w", err))
			continue
		}
		if behind && b.through >= backlog {
			behind = false
			l.handler.CaughtUp()
		}
		frame, err := wire.Marshal(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{
			Ack: &wire.Ack{Through: b.through, Steps: steps}}})
		if err == nil {
			err = c.enqueue(ctx, frame)
		}
		if err != nil {
			c.fail(fmt.Errorf("acknowledge: %w", err))
		}
	}
}
