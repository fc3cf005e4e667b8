package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"secmsg/rpc/backoff"
	"secmsg/rpc/local"
)

const (
	// maxConns bounds the connections; a user's scripts and bots need a few dozen.
	maxConns = 256
	// maxInFlight bounds the requests of one connection that run concurrently; further ones
	// wait in the socket.
	maxInFlight = 64
	// acceptPauseMin and acceptPauseMax bound the delay after Accept has failed, for
	// example because the process has no file descriptors left.
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
	// halfClosed is how long requests may take after the caller has closed its sending
	// side: `printf ... | nc -U` closes it at once and still reads.
	halfClosed = 10 * time.Second
	// lastWords is how long answers may be written after the end of Serve's context.
	lastWords = time.Second
	// answerTimeout bounds the write of one answer to a caller that does not read.
	answerTimeout = 30 * time.Second
)

// ErrStop is the cause of a context that daemon.stop has cancelled.
var ErrStop = errors.New("stopped by a caller")

// Serve serves connections on ln until ctx ends or ln fails. Then it closes ln, ends all
// connections, and returns when everything it started has ended. It returns nil if ctx has
// ended. Callers of other users are rejected.
func Serve(ctx context.Context, ln net.Listener, b Backend, logger *slog.Logger) error {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	s := &server{ctx: whole, backend: b, logger: logger, methods: methods(b), slots: make(chan struct{}, maxConns), conns: map[*conn]struct{}{}}
	defer s.wg.Wait()
	defer cancel()
	defer ln.Close()

	for tries := 0; ; {
		c, err := ln.Accept()
		if err == nil {
			tries = 0
			s.admit(ctx, c)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on the socket: %w", err)
		}
		pause := backoff.New(acceptPauseMin, acceptPauseMax).After(tries, 0)
		tries++
		logger.Warn("cannot accept a connection on the socket", "error", err, "retry", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// server is shared by all connections of one Serve.
type server struct {
	// constant
	ctx     context.Context // context of Serve's caller
	backend Backend
	logger  *slog.Logger
	methods map[string]method
	slots   chan struct{} // semaphore: one token for each connection
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu
}

// admit checks the caller and starts its connection.
func (s *server) admit(ctx context.Context, nc net.Conn) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		s.logger.Error("the local socket is not a Unix socket", "network", nc.LocalAddr().Network())
		_ = nc.Close()
		return
	}
	if err := local.CheckPeer(uc); err != nil {
		s.logger.Warn("refused a caller", "error", err)
		_ = nc.Close()
		return
	}
	c := newConn(s, uc)
	select {
	case s.slots <- struct{}{}:
	default:
		s.logger.Warn("too many connections on the local socket", "limit", maxConns)
		_ = uc.SetWriteDeadline(time.Now().Add(time.Second))
		c.fail(nil, local.RPCFailed, local.Errorf(local.CodeRateLimited, "the daemon has more than %d connections", maxConns))
		_ = nc.Close()
		return
	}
	s.enter(c)
	s.wg.Go(func() {
		defer func() { <-s.slots }()
		defer s.leave(c)
		c.serve(ctx)
	})
}
