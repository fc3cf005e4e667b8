package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"secmsg/rpc/local"
)

// hangupWait is how long an interrupted command waits for its call to end, so that
// the hangup reaches the peer and the end is printed.
const hangupWait = 3 * time.Second

// unreadEvery is how often a call checks that standard output still has a reader.
// While a call rings there is nothing to print, so no write would fail.
const unreadEvery = 500 * time.Millisecond

// carryCall runs one call to its end and prints its events. It hangs up when ctx
// ends or the reader of standard output goes away.
func (a *app) carryCall(ctx context.Context, c *local.Client, m media, run func(context.Context, func(local.Event)) (local.Call, error)) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	read, stopReading := context.WithCancel(ctx)
	defer stopReading()
	show := &callShow{a: a, stderr: m.stdout, unread: stopReading}
	if !m.stdout {
		watching.Go(func() { show.watch(read) })
	}
	carry, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	stop := context.AfterFunc(read, func() {
		last, cancel := context.WithTimeout(carry, hangupWait)
		defer cancel()
		if id := show.id(); id != "" {
			if _, err := c.HangupCall(last, local.CallIDParams{AccountParam: a.accountParam(), ID: id}); err == nil {
				<-last.Done() // wait for the event of the call's end, at most hangupWait
			}
		}
		drop()
	})
	defer stop()
	// await returns when carry ends even if run is blocked in a write to a full pipe.
	_, err := await(carry, func() (local.Call, error) { return run(carry, show.event) })
	printed := show.end()
	switch {
	case ctx.Err() != nil && show.connected():
		// Ctrl-C is the normal way to end a call. Only a fault of its media is an error.
		if carry.Err() != nil || isCode(err, local.CodeInterrupted) {
			return nil
		}
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case printed != nil:
		return printed
	}
	return err
}

// callShow prints the events of one call.
type callShow struct {
	a      *app
	stderr bool // standard output carries media
	unread func()

	mu      sync.Mutex
	current string // guarded by mu; the call's id
	line    bool   // guarded by mu; the terminal shows a line of statistics
	state   string // guarded by mu; the state that was printed last
	up      bool   // guarded by mu; the call was connected
	err     error  // guarded by mu; the first error from printing
}

// watch ends the call when the reader of standard output goes away.
func (s *callShow) watch(ctx context.Context) {
	if s.a.readerLeft(ctx) {
		s.mu.Lock()
		s.err = cmp.Or(s.err, errReaderLeft)
		s.mu.Unlock()
		s.unread()
	}
}

func (s *callShow) id() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// connected reports whether the call was ever connected.
func (s *callShow) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// event prints one event. JSON output has every event, text output only changes of
// state; notices go to standard error.
func (s *callShow) event(e local.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Call == nil || s.err != nil {
		return
	}
	defer func() {
		if s.err != nil {
			s.unread()
		}
	}()
	s.current = e.Call.ID
	s.up = s.up || e.Call.State == local.CallConnected
	if e.Call.Text != "" && e.Call.State == s.state && e.Call.State != local.CallEnded {
		s.wipe()
		s.a.notef("%s", visible(e.Call.Text))
	}
	changed := e.Call.State != s.state
	s.state = e.Call.State
	if s.a.json() {
		s.err = s.a.printJSON(e)
		return
	}
	if !changed && e.Call.State != local.CallEnded {
		s.stats(e.Call)
		return
	}
	s.wipe()
	if s.stderr {
		s.a.notef("%s", eventText(&e))
		return
	}
	s.err = s.a.printEvent(&e)
}

// stats redraws one line of statistics on a terminal.
func (s *callShow) stats(c *local.Call) {
	if c.Stats == nil || s.a.quiet || !s.a.stderrTerminal() {
		return
	}
	s.line = true
	fmt.Fprintf(s.a.stderr, "\r\x1b[K%s", clip(visible(secondsText(c.Duration)+" "+statsText(c.Stats)), s.a.stderrColumns()-1))
}

// wipe erases the line of statistics.
func (s *callShow) wipe() {
	if s.line {
		fmt.Fprint(s.a.stderr, "\r\x1b[K")
		s.line = false
	}
}

// end returns the first error from printing.
func (s *callShow) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	return s.err
}

// clip cuts a line to a number of columns.
func clip(s string, columns int) string {
	if r := []rune(s); columns > 0 && len(r) > columns {
		return string(r[:columns])
	}
	return s
}
