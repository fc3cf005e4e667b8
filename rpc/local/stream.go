package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Stream is a subscription on its own connection. Events arrive in the order of seq, because the caller
// reads them from the connection one by one. A slow reader delays only the daemon's writer for this
// stream. A Stream belongs to one goroutine.
type Stream struct {
	conn       *net.UnixConn
	r          *bufio.Reader
	subscribed Subscribed
	onLink     func(Link)
	stopped    bool
}

// Subscribe starts a subscription. Events are acknowledged with Ack on the Client.
func (c *Client) Subscribe(ctx context.Context, p SubscribeParams) (*Stream, error) {
	g, err := dial(ctx, c.target)
	if err != nil {
		return nil, err
	}
	s := &Stream{conn: g.conn, r: g.r}
	if err := s.start(ctx, p); err != nil {
		_ = g.conn.Close()
		return nil, err
	}
	return s, nil
}

// start sends the request and waits for its answer, which precedes all events.
func (s *Stream) start(ctx context.Context, p SubscribeParams) error {
	params, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode %s: %w", MethodEventSubscribe, err)
	}
	line, err := json.Marshal(Request{Version: rpcVersion, ID: json.RawMessage("1"), Method: MethodEventSubscribe, Params: params})
	if err != nil {
		return fmt.Errorf("encode %s: %w", MethodEventSubscribe, err)
	}
	if _, err := s.conn.Write(append(line, '\n')); err != nil {
		return lostError(err)
	}
	f, err := s.frame(ctx)
	if err != nil {
		return err
	}
	return f.decode(MethodEventSubscribe, &s.subscribed)
}

// Subscribed returns the snapshot that the subscription started with.
func (s *Stream) Subscribed() Subscribed { return s.subscribed }

// OnLink makes Next call f for each Link that arrives before the event.
func (s *Stream) OnLink(f func(Link)) { s.onLink = f }

// Stopped reports whether the daemon announced, before the stream ended, that somebody stopped it.
func (s *Stream) Stopped() bool { return s.stopped }

// Next waits for the next event. If ctx ends it returns the context's error; after that, Next may be
// called again only if no part of a line had arrived. If the daemon is gone it returns an *Error of
// code no_daemon, or the daemon's own reason.
func (s *Stream) Next(ctx context.Context) (Event, error) {
	for {
		f, err := s.frame(ctx)
		if err != nil {
			return Event{}, err
		}
		switch f.Method {
		case NotifyEvent:
			e, _ := DecodeEvent(f.Params) // an unreadable one is shown as such
			return e, nil
		case NotifyEnd:
			var e Error
			if err := json.Unmarshal(f.Params, &e); err != nil || e.Code == "" {
				return Event{}, lostError(io.EOF)
			}
			s.stopped = e.Code == CodeNoDaemon
			return Event{}, &e
		case NotifyLink:
			var l Link
			if err := json.Unmarshal(f.Params, &l); err == nil && s.onLink != nil {
				s.onLink(l)
			}
		}
		// Ignore notifications that this version does not know.
	}
}

// Close ends the subscription.
func (s *Stream) Close() error { return s.conn.Close() }

// frame reads one line; ctx interrupts it by a read deadline in the past.
func (s *Stream) frame(ctx context.Context) (frame, error) {
	if err := ctx.Err(); err != nil {
		return frame{}, err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	f, err := readFrame(s.r)
	if !stop() {
		<-interrupted
		_ = s.conn.SetReadDeadline(time.Time{}) // Next may be called again
	}
	var timeout net.Error
	switch {
	case err == nil:
		return f, nil
	case ctx.Err() != nil && errors.As(err, &timeout) && timeout.Timeout():
		return frame{}, ctx.Err()
	}
	return frame{}, lostError(err)
}
