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
	"secmsg/rpc/local"
)

// errListenTimeout tells the end of --timeout from other ends.
var errListenTimeout = errors.New("the time of --timeout is over")

// listener carries out one listen, across restarts of the daemon.
type listener struct {
	a   *app
	cfg config.Client
	o   listenOptions
	p   local.SubscribeParams

	c      *local.Client
	s      *local.Stream
	cancel context.CancelFunc // of --timeout; nil without one

	n       int             // events that were shown or handled
	last    int64           // seq of the last of them; before that, where the subscription began
	acked   int64           // the last that was acknowledged
	away    map[string]bool // accounts whose server is away, as the user was told
	started bool            // a subscription has stood
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

// beginWithin is how long a subscription may take to begin even if --timeout is
// shorter.
const beginWithin = 10 * time.Second

// begin subscribes, and returns a context that ends with --timeout. The time
// counts from then on, so that a new consumer exists however short it is.
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

// subscribe starts the subscription, or goes on with it behind the last event.
func (l *listener) subscribe(ctx context.Context) error {
	p := l.p
	if l.started {
		p.Since = "" // a consumer goes on at its cursor
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
		// The profile has another journal than before: a damaged one was set aside.
		// All that is in this one is new.
		l.last, l.acked = 0, 0
		if l.o.consumer == "" && at.Cursor > 0 {
			_ = s.Close()
			return l.subscribe(ctx)
		}
	}
	l.started = true
	return nil
}

// events shows or handles events until the count is reached or something fails.
func (l *listener) events(ctx, until context.Context) error {
	for {
		// What was shown is acknowledged even when the time is over.
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
			continue // it was shown before the daemon was restarted
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

// isLost reports whether err says that the daemon has gone, or does not answer.
func isLost(err error) bool { return isCode(err, local.CodeNoDaemon) }

const (
	// resumePauseMin and resumePauseMax bound the pauses between attempts to find
	// the daemon again.
	resumePauseMin = 100 * time.Millisecond
	resumePauseMax = 2 * time.Second
)

// resume waits until a daemon is there again, and goes on behind the last event.
// A daemon that has failed is started again. One that somebody has stopped is
// waited for: to start it at once would undo the stop.
func (l *listener) resume(ctx context.Context) error {
	stopped := l.wasStopped(ctx)
	l.close()
	start := !stopped && !l.a.noAutostart
	if stopped {
		l.a.notef("the daemon was stopped; waiting for it to be started again")
	} else {
		l.a.notef("the daemon has gone; waiting for it")
	}
	told := ""
	for pause := resumePauseMin; ; pause = min(2*pause, resumePauseMax) {
		select {
		case <-time.After(pause):
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
			pause = resumePauseMin // to look costs next to nothing
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

// wasStopped reports whether the daemon went because somebody stopped it. That
// stands at the end of the stream, which a call that failed has not read yet; the
// events before it come again.
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

// lastWordTimeout is how long the end of a stream is waited for when the other
// connection to the daemon has ended.
const lastWordTimeout = 2 * time.Second

// errNotYet tells that no daemon runs on the profile.
var errNotYet = errors.New("no daemon runs yet")

// reach connects and subscribes once. Unless it may start the daemon, it looks
// at the lock first: to connect to the socket of a service manager starts it.
func (l *listener) reach(ctx context.Context, start bool) (err error) {
	if !start && local.ReadHolder(l.cfg.Paths.Lock).State != local.HolderRunning {
		return errNotYet
	}
	if _, err := os.Stat(l.cfg.Paths.Data); errors.Is(err, fs.ErrNotExist) {
		// Moved away, perhaps for a moment. To start a daemon would make an empty one.
		return local.Errorf(local.CodeNoDaemon, "the profile is gone: there is no directory %s", l.cfg.Paths.Data)
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

// link tells the user when the server goes and when it comes back.
func (l *listener) link(k local.Link) {
	if k.Connected == !l.away[k.Account] {
		return
	}
	l.away[k.Account] = !k.Connected
	switch {
	case k.Connected:
		l.a.notef("%s: connected to the server again", visible(k.Account))
	case k.Error != nil:
		l.a.notef("%s: no connection to the server: %s; events come when it is back", visible(k.Account), visible(k.Error.Message))
	default:
		l.a.notef("%s: no connection to the server; events come when it is back", visible(k.Account))
	}
}

// end says what the end of the stream means.
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
		return local.Errorf(local.CodeTimeout, "%d of %d events after %s", l.n, l.o.count, l.o.timeout)
	}
	return nil
}

// consume prints one event or runs its handler until that succeeds, or until it
// has failed as often or as long as it may. For a consumer the daemon counts,
// across restarts, and the event is a dead letter in the end.
func (l *listener) consume(ctx context.Context, e *local.Event) error {
	if l.o.exec == "" {
		return l.a.printEvent(e)
	}
	began := time.Now()
	pause := handlerPauseMin
	for attempts := 1; ; attempts++ {
		err := l.a.handle(ctx, l.o.exec, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		left := l.o.deadAfter - time.Since(began)
		dead := attempts > l.o.retry || left <= 0
		wait := min(pause, max(left, 0))
		pause = min(2*pause, handlerPauseMax)
		letter := ""
		if l.o.consumer != "" && l.o.ack == ackAuto {
			f, failed := l.c.Fail(ctx, local.FailParams{Consumer: l.o.consumer, ID: strconv.FormatInt(e.Seq, 10)})
			if failed != nil {
				return failed // the event comes again from the next daemon
			}
			attempts, dead, wait = f.Attempts, f.Dead, time.Duration(f.RetryAfter*float64(time.Second))
			letter = ", see secmsg consumer list"
		}
		if dead {
			times := fmt.Sprintf("%d attempts", attempts)
			if attempts == 1 {
				times = "1 attempt"
			}
			l.a.notef("event %s: %v; given up after %s%s", visible(e.ID), err, times, letter)
		}
		switch {
		case dead && letter != "":
			return nil
		case l.o.hasCount && l.o.consumer != "":
			e := *local.As(err)
			e.Message += "; the event stays for the next attempt"
			return &e
		case l.o.hasCount:
			return err
		case dead:
			return nil
		}
		l.a.notef("event %s: %v; again in %s", visible(e.ID), err, wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
