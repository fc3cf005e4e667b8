package localapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"secmsg/rpc/local"
	"secmsg/rpc/strict"
)

// readBuffer is the initial size of a connection's read buffer in bytes.
const readBuffer = 4 << 10

// conn is the connection of one caller. serve reads the requests and runs each in its own
// goroutine, and another one for a subscription; it waits for all of them.
type conn struct {
	// constant
	s *server
	c *net.UnixConn

	resumes atomic.Bool // the caller reconnects by itself, see local.HelloParams

	writeMu sync.Mutex // held while writing one or more whole lines

	mu         sync.Mutex
	inFlight   map[string]bool // ids of unanswered requests
	subscribed bool
}

func newConn(s *server, c *net.UnixConn) *conn {
	return &conn{s: s, c: c, inFlight: map[string]bool{}}
}

// serve reads requests until the caller disconnects or violates the protocol, or ctx ends.
func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.c.Close()
	// When ctx ends, reading stops at once. Answers can be written for lastWords.
	closer := time.AfterFunc(time.Hour, func() { _ = c.c.Close() })
	closer.Stop()
	defer closer.Stop()
	stop := context.AfterFunc(ctx, func() {
		_ = c.c.SetReadDeadline(time.Unix(1, 0))
		closer.Reset(lastWords)
	})
	defer stop()

	var requests, streams sync.WaitGroup
	streamCtx, endStreams := context.WithCancel(ctx)
	defer endStreams()

	slots := make(chan struct{}, maxInFlight)
	open := local.NewDescriptorReader(c.c)
	r := bufio.NewReaderSize(open, readBuffer)
	for {
		line, err := local.ReadLine(r, local.MaxRequest)
		if err != nil {
			if errors.Is(err, local.ErrLineTooLong) {
				c.fail(nil, local.RPCInvalidRequest, local.Errorf(local.CodeUsage, "a line is longer than %d bytes", local.MaxRequest))
				cancel() // the rest of the line is useless
			} else if !errors.Is(err, io.EOF) {
				cancel()
			}
			break
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		req, rpcErr := c.parse(line)
		if req.Method == local.NotifyFileData {
			break // data of a stream whose request was refused: not a request
		}
		if rpcErr != nil {
			c.fail(req.ID, rpcErr.Code, rpcErr.Data)
			continue
		}
		if req.Method == local.MethodFileSend || req.Method == local.MethodFileGet {
			// The transfer owns the connection until it is answered.
			if !c.transfer(ctx, r, open, req) {
				break
			}
			continue
		}
		if req.Method == local.MethodCallStart || req.Method == local.MethodCallAnswer {
			if !c.call(ctx, r, req) {
				break
			}
			continue
		}
		if req.Method == local.MethodDaemonHello {
			c.hello(req)
			continue
		}
		if !c.take(ctx, slots) {
			cancel() // there is nobody to answer
			break
		}
		finish := c.begin(ctx, streamCtx, req, &streams)
		requests.Go(func() {
			defer func() { <-slots }()
			finish()
		})
	}
	endStreams()
	// The running requests are still answered, for a while.
	late := time.AfterFunc(halfClosed, cancel)
	requests.Wait()
	late.Stop()
	cancel()
	streams.Wait()
}

// take takes a slot for a request. While it waits the socket is not read, so it polls
// whether the caller has disconnected; then it returns false.
func (c *conn) take(ctx context.Context, slots chan<- struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	look := time.NewTicker(hangupEvery)
	defer look.Stop()
	for {
		select {
		case slots <- struct{}{}:
			return true
		case <-look.C:
			if hungUp(c.c) {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
}

// parse checks one line. If it fails, the returned request has the ID if that was valid.
func (c *conn) parse(line []byte) (local.Request, *local.RPCError) {
	bad := func(id json.RawMessage, format string, args ...any) (local.Request, *local.RPCError) {
		return local.Request{ID: id}, local.NewRPCError(local.RPCInvalidRequest, local.Errorf(local.CodeUsage, format, args...))
	}
	if bytes.TrimLeft(line, " \t\r")[0] == '[' {
		return bad(nil, "expected one request object per line; batches are not supported")
	}
	var req local.Request
	if err := strict.Unmarshal(line, &req, limits()); errors.Is(err, strict.ErrSyntax) {
		return local.Request{}, local.NewRPCError(local.RPCParse, local.Errorf(local.CodeUsage, "%s", clip(err.Error())))
	} else if err != nil {
		return bad(nil, "not a request: %s", clip(err.Error()))
	}
	if !validID(req.ID) {
		return bad(nil, "the id must be a string or a number of at most %d bytes", local.MaxID)
	}
	if req.Version != "2.0" {
		return bad(req.ID, `the member "jsonrpc" must be "2.0"`)
	}
	if req.Method == "" {
		return bad(req.ID, "the method is missing")
	}
	if len(req.ID) > 0 && !c.reserve(req.ID) {
		return bad(nil, "the id is used by another request that is not answered yet")
	}
	return req, nil
}

// limits bound one line of a caller.
func limits() strict.Limits {
	return strict.Limits{Depth: local.MaxDepth, Values: local.MaxValues}
}

// validID accepts no id, a string or a number. The answer repeats it byte by byte.
func validID(id json.RawMessage) bool {
	if len(id) == 0 {
		return true
	}
	return len(id) <= local.MaxID && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}

func (c *conn) reserve(id json.RawMessage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight[string(id)] {
		return false
	}
	c.inFlight[string(id)] = true
	return true
}

func (c *conn) end(id json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inFlight, string(id))
}

// begin begins one request. The reader calls it in the order of requests. The returned
// function runs the request and answers it, unless it is a notification.
func (c *conn) begin(ctx, streamCtx context.Context, req local.Request, streams *sync.WaitGroup) func() {
	switch req.Method {
	case local.MethodEventSubscribe:
		return func() { c.subscribe(streamCtx, req, streams) }
	case local.MethodDaemonStop:
		return func() { c.stop(ctx, req) }
	}
	m, ok := c.s.methods[req.Method]
	if !ok {
		return func() {
			c.fail(req.ID, local.RPCNoMethod, local.Errorf(local.CodeUsage, "unknown method %q", clip(req.Method)))
		}
	}
	finish := m.begin(ctx, req.Params)
	return func() {
		result, err := finish()
		if err != nil {
			c.failed(req, err)
			return
		}
		c.answer(req.ID, result)
	}
}

// failed answers a request with an error. Details that the caller may not see are logged.
func (c *conn) failed(req local.Request, err error) {
	if p, ok := errors.AsType[*paramsError](err); ok {
		c.fail(req.ID, local.RPCInvalidParams, local.Errorf(local.CodeUsage, "%s: %s", req.Method, p.text))
		return
	}
	if e, ok := errors.AsType[*local.Error](err); ok && e.Code == local.CodeInterrupted && c.s.ctx.Err() != nil {
		// The daemon interrupted the request, not the caller.
		c.fail(req.ID, local.RPCFailed, stoppingError())
		return
	} else if ok {
		if whole := err.Error(); whole != e.Message {
			// Details beyond the public message are logged.
			c.s.logger.Info("request failed", "method", req.Method, "code", string(e.Code), "cause", string(e.Cause), "error", whole)
		}
		c.fail(req.ID, local.RPCFailed, e)
		return
	}
	e := local.As(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		e = stoppingError() // or the caller has disconnected and reads no answer
	} else {
		c.s.logger.Error("request failed", "method", req.Method, "error", err)
	}
	c.fail(req.ID, local.RPCFailed, e)
}

// stoppingError is the error for a request that was cut off by the end of the daemon.
// Clients treat it like a closed connection.
func stoppingError() *local.Error {
	return local.Errorf(local.CodeNoDaemon, "the daemon was stopped before it could answer")
}

// clip shortens a caller's text before it is returned or logged.
func clip(s string) string {
	if len(s) > local.MaxID {
		return s[:local.MaxID] + "..."
	}
	return s
}
