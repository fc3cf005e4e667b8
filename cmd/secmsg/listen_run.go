package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"secmsg/config"
	"secmsg/rpc/backoff"
	"secmsg/rpc/local"
)

// errListenTimeout is the cause of a context that --timeout ended.
var errListenTimeout = errors.New("the time of --timeout is over")

// listener runs one listen command, across restarts of the daemon.
type listener struct {
	a   *app
	cfg config.Client
	o   listenOptions
	p   local.SubscribeParams

	c      *local.Client
	s      *local.Stream
	cancel context.CancelFunc // of the context of --timeout; nil without one

	n       int             // events printed or handled so far
	last    int64           // seq of the last of them; at first, where the subscription began
	acked   int64           // seq of the last acknowledged event
	away    map[string]bool // accounts whose server is away, as already printed
	started bool            // a subscription has succeeded
}

// listen prints or handles events until its count, its timeout or the stream ends.
func (a *app) listen(ctx context.Context, o listenOptions, p local.SubscribeParams) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	p.AccountParam, p.Links = a.accountParam(), true
	l := &listener{a: a, cfg: cfg, o: o, p: p, away: map[string]bool{}}
	defer l.close()
	defer func() {
		if l.cancel != nil {
			l.cancel()
		}
	}()
	until := ctx
	if o.exec == "" {
		var left func()
		until, left = a.whileRead(until)
		defer left()
	}
	if l.c, err = a.dialAs(ctx, local.HelloParams{Version: config.Version(), Resumes: true}); err != nil {
		return err
	}
	if until, err = l.begin(until); err != nil {
		return l.end(ctx, until, err)
	}
	for err == nil {
		err = l.events(ctx, until)
		if err == nil || !isLost(err) {
			break
		}
		err = l.resume(until)
	}
	return l.end(ctx, until, err)
}

// beginWithin is how long the first subscription may take even if --timeout is shorter.
const beginWithin = 10 * time.Second

// begin subscribes, and returns a context that ends with --timeout. The time counts
// from the subscription on, so that even a short --timeout creates a new consumer.
func (l *listener) begin(ctx context.Context) (until context.Context, err error) {
	if !l.o.hasTimeout {
		return ctx, l.subscribe(ctx)
	}
	first, cancel := context.WithTimeoutCause(ctx, max(l.o.timeout, beginWithin), errListenTimeout)
	defer cancel()
	if err := l.subscribe(first); err != nil {
		return first, err
	}
	until, l.cancel = context.WithTimeoutCause(ctx, l.o.timeout, errListenTimeout)
	return until, nil
}

// close ends the connections.
func (l *listener) close() {
	if l.s != nil {
		_ = l.s.Close()
		l.s = nil
	}
	if l.c != nil {
		_ = l.c.Close()
		l.c = nil
	}
}

// subscribe starts the subscription, or resumes it after the last event.
func (l *listener) subscribe(ctx context.Context) error {
	p := l.p
	if l.started {
		p.Since = "" // a consumer continues at its cursor
		if l.o.consumer == "" {
			p.Since = strconv.FormatInt(l.last, 10)
		}
	}
	s, err := l.c.Subscribe(ctx, p)
	if err != nil {
		return err
	}
	s.OnLink(l.link)
	l.s = s
	at := s.Subscribed()
	switch {
	case !l.started:
		l.last = at.Cursor
		l.acked = at.Cursor
	case at.Newest < l.last:
		// The newest event is older than the last one seen: a damaged journal was replaced
		// by a new one, in which every event is new.
		l.last, l.acked = 0, 0
		if l.o.consumer == "" && at.Cursor > 0 {
			_ = s.Close()
			return l.subscribe(ctx)
		}
	}
	l.started = true
	return nil
}

// events prints or handles events until the count is reached or something fails.
func (l *listener) events(ctx, until context.Context) error {
	for {
		// With ctx, not until: a printed event is acknowledged even after --timeout.
		if err := l.ack(ctx); err != nil {
			return err
		}
		if l.o.hasCount && l.n >= l.o.count {
			return nil
		}
		e, err := l.s.Next(until)
		if err != nil {
			return err
		}
		if e.Seq <= l.last {
			continue // printed before the daemon was restarted
		}
		if err := l.consume(until, &e); err != nil {
			return err
		}
		l.last = e.Seq
		l.n++
	}
}

// ack acknowledges the last event for a consumer.
func (l *listener) ack(ctx context.Context) error {
	if l.o.consumer == "" || l.o.ack == ackManual || l.acked >= l.last {
		return nil
	}
	err := l.c.Ack(ctx, local.AckParams{Consumer: l.o.consumer, ID: strconv.FormatInt(l.last, 10)})
	if err == nil {
		l.acked = l.last
	}
	return err
}

// isLost reports whether err says that the daemon is gone or does not respond.
func isLost(err error) bool { return isCode(err, local.CodeNoDaemon) }

const (
	// resumePauseMin and resumePauseMax bound the pause between attempts to reconnect
	// to the daemon.
	resumePauseMin = 100 * time.Millisecond
	resumePauseMax = 2 * time.Second
)

// resume waits until a daemon is running again, and resumes after the last event. It
// restarts a daemon that failed. It does not restart one that somebody stopped, since
// that would undo the stop.
func (l *listener) resume(ctx context.Context) error {
	stopped := l.wasStopped(ctx)
	l.close()
	start := !stopped && !l.a.noAutostart
	if stopped {
		l.a.notef("the daemon was stopped; waiting until it is started again")
	} else {
		l.a.notef("lost the connection to the daemon; waiting for it")
	}
	told := ""
	for tries := 0; ; tries++ {
		select {
		case <-time.After(backoff.New(resumePauseMin, resumePauseMax).After(tries, 0)):
		case <-ctx.Done():
			return ctx.Err()
		}
		err := l.reach(ctx, start)
		switch {
		case err == nil:
			l.a.notef("the daemon is back")
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNotYet):
			tries = 0 // reading the lock is cheap
			continue
		case !isLost(err) && !isCode(err, local.CodeLocked):
			return err
		}
		if text := local.As(err).Message; text != told {
			told = text
			l.a.notef("%s; waiting for it", visible(text))
		}
	}
}

// wasStopped reports whether somebody stopped the daemon. The daemon says so at the
// end of the stream, so the stream is read to its end. Events that are skipped here
// come again with the next subscription.
func (l *listener) wasStopped(ctx context.Context) bool {
	if l.s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lastWordTimeout)
	defer cancel()
	for {
		if _, err := l.s.Next(ctx); err != nil {
			return l.s.Stopped()
		}
	}
}

// lastWordTimeout is how long wasStopped waits for the end of the stream.
const lastWordTimeout = 2 * time.Second

// errNotYet means that no daemon is running on the profile.
var errNotYet = errors.New("no daemon runs yet")

// reach connects and subscribes once. Unless it may start the daemon, it reads the
// lock first, since connecting to a service manager's socket would start it.
func (l *listener) reach(ctx context.Context, start bool) (err error) {
	if !start && local.ReadHolder(l.cfg.Paths.Lock).State != local.HolderRunning {
		return errNotYet
	}
	if _, err := os.Stat(l.cfg.Paths.Data); errors.Is(err, fs.ErrNotExist) {
		// It was moved, perhaps for a moment. Starting a daemon would make an empty profile.
		return local.Errorf(local.CodeNoDaemon, "the profile is gone: directory %s does not exist", l.cfg.Paths.Data)
	}
	caller := local.HelloParams{Version: config.Version(), Resumes: true}
	if start {
		l.c, err = l.a.dialAs(ctx, caller)
	} else {
		t := daemonTarget(l.cfg)
		t.Caller = caller
		l.c, err = local.Dial(ctx, t)
	}
	if err != nil {
		l.c = nil
		return err
	}
	if err = l.subscribe(ctx); err != nil {
		l.close()
	}
	return err
}

// link tells the user when the connection to the server is lost and when it is back.
func (l *listener) link(k local.Link) {
	if k.Connected == !l.away[k.Account] {
		return
	}
	l.away[k.Account] = !k.Connected
	switch {
	case k.Connected:
		l.a.notef("%s: reconnected to the server", visible(k.Account))
	case k.Error != nil:
		l.a.notef("%s: lost the connection to the server: %s; events resume when it is back", visible(k.Account), visible(k.Error.Message))
	default:
		l.a.notef("%s: lost the connection to the server; events resume when it is back", visible(k.Account))
	}
}

// end returns the error of the command for the error that ended the stream.
func (l *listener) end(ctx, until context.Context, err error) error {
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, errReaderLeft):
		return err
	case errors.Is(context.Cause(until), errReaderLeft):
		return errReaderLeft
	case !errors.Is(context.Cause(until), errListenTimeout):
		return err
	}
	if l.o.hasCount {
		return local.Errorf(local.CodeTimeout, "got only %d of %d events within %s", l.n, l.o.count, l.o.timeout)
	}
	return nil
}

// consume prints one event, or runs the handler until it succeeds or reaches the limit
// of retries or time. For a consumer, the daemon counts the attempts across restarts,
// and the event becomes a dead letter.
func (l *listener) consume(ctx context.Context, e *local.Event) error {
	if l.o.exec == "" {
		return l.a.printEvent(e)
	}
	began := time.Now()
	for attempts := 1; ; attempts++ {
		err := l.a.handle(ctx, l.o.exec, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		left := l.o.deadAfter - time.Since(began)
		dead := attempts > l.o.retry || left <= 0
		wait := min(backoff.New(handlerPauseMin, handlerPauseMax).After(attempts-1, 0), max(left, 0))
		letter := ""
		if l.o.consumer != "" && l.o.ack == ackAuto {
			f, failed := l.c.Fail(ctx, local.FailParams{Consumer: l.o.consumer, ID: strconv.FormatInt(e.Seq, 10)})
			if failed != nil {
				return failed // the event comes again with the next subscription
			}
			attempts, dead, wait = f.Attempts, f.Dead, time.Duration(f.RetryAfter*float64(time.Second))
			letter = ", see secmsg consumer list"
		}
		if dead {
			times := fmt.Sprintf("%d attempts", attempts)
			if attempts == 1 {
				times = "1 attempt"
			}
			l.a.notef("event %s: %v; gave up after %s%s", visible(e.ID), err, times, letter)
		}
		switch {
		case dead && letter != "":
			return nil
		case l.o.hasCount && l.o.consumer != "":
			e := *local.As(err)
			e.Message += "; the event is kept for the next attempt"
			return &e
		case l.o.hasCount:
			return err
		case dead:
			return nil
		}
		l.a.notef("event %s: %v; retrying in %s", visible(e.ID), err, wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
