package localapi

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"secmsg/rpc/local"
)

// subscribe answers event.subscribe and starts the goroutine that pushes events, in the
// order of seq and after the answer. A connection has at most one subscription, since an
// event does not say which one it belongs to.
func (c *conn) subscribe(ctx context.Context, req local.Request, streams *sync.WaitGroup) {
	if len(req.ID) == 0 {
		return // without an answer the caller would not know where it starts
	}
	p, err := decode[local.SubscribeParams](req.Params)
	if err != nil {
		c.failed(req, err)
		return
	}
	if !c.reserveStream() {
		c.fail(req.ID, local.RPCFailed, local.Errorf(local.CodeUsage, "this connection already has a subscription; use another connection"))
		return
	}
	start, sub, err := c.s.backend.Subscribe(ctx, p)
	if err != nil {
		c.releaseStream()
		c.failed(req, err)
		return
	}
	c.answer(req.ID, start)
	streams.Go(func() {
		defer c.releaseStream()
		defer sub.Close()
		c.push(ctx, sub, newLinkTeller(c, p))
	})
}

func (c *conn) reserveStream() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed {
		return false
	}
	c.subscribed = true
	return true
}

func (c *conn) releaseStream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribed = false
}

// pushBuffer is the size from which on buffered events are written, in bytes.
const pushBuffer = 64 << 10

// push writes events until the subscription or the connection ends. It combines events that
// are ready at the same time into one write.
func (c *conn) push(ctx context.Context, sub Subscription, links *linkTeller) {
	var lines bytes.Buffer
	for {
		if err := links.tell(); err != nil {
			_ = c.c.Close()
			return
		}
		select {
		case <-ctx.Done():
			c.lastWord()
			return
		case <-links.changed:
		case e, ok := <-sub.Events():
			for more := ok; more; {
				if err := encodeEvent(&lines, e); err != nil {
					c.s.logger.Error("encode event", "seq", e.Seq, "error", err)
					_ = c.c.Close()
					return
				}
				if more = lines.Len() < pushBuffer; !more {
					break
				}
				select {
				case e, ok = <-sub.Events():
					more = ok
				default:
					more = false
				}
			}
			if lines.Len() > 0 {
				if err := c.writeLines(lines.Bytes(), time.Time{}); err != nil {
					_ = c.c.Close()
					return
				}
			}
			if !ok && c.s.ctx.Err() != nil {
				c.lastWord()
				return
			}
			if !ok {
				c.pushEnd(sub.Err())
				return
			}
			if lines.Reset(); lines.Cap() > 2*pushBuffer {
				lines = bytes.Buffer{} // drop the buffer of a large event
			}
		}
	}
}

// lastWord tells the subscriber that the daemon was stopped on request. A daemon that fails
// sends nothing; then the subscriber may start it again.
func (c *conn) lastWord() {
	cause := context.Cause(c.s.ctx)
	if errors.Is(cause, ErrStop) || errors.Is(cause, context.Canceled) {
		c.pushEnd(local.Errorf(local.CodeNoDaemon, "the daemon was stopped"))
	}
}

// encodeEvent appends an event as one line. If the event cannot be encoded, it appends a
// placeholder, so that later events are still delivered.
func encodeEvent(to *bytes.Buffer, e local.Event) error {
	n := to.Len()
	err := encodeLine(to, notification{"2.0", local.NotifyEvent, e})
	if err != nil {
		to.Truncate(n)
		err = encodeLine(to, notification{"2.0", local.NotifyEvent, local.Unreadable(
			local.Event{Seq: e.Seq, ID: e.ID, Type: e.Type, Account: e.Account, Peer: e.Peer, Received: e.Received})})
	}
	return err
}

// pushEnd tells the subscriber why there are no more events.
func (c *conn) pushEnd(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		err = local.Errorf(local.CodeNoDaemon, "the daemon ended the subscription")
	}
	e, ok := errors.AsType[*local.Error](err)
	if !ok {
		c.s.logger.Error("subscription failed", "error", err)
		e = local.As(err)
	}
	if err := c.writeLine(notification{"2.0", local.NotifyEnd, e}, time.Now().Add(answerTimeout)); err != nil {
		_ = c.c.Close()
	}
}
