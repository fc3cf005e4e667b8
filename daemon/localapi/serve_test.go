package localapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/poll"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCallReturnsResult(t *testing.T) {
	path, _ := start(t, newFake())
	st, err := dial(t, path).Status(t.Context())
	if err != nil || st.PID != 42 || st.Version != "test" {
		t.Fatalf("Status = %+v, %v", st, err)
	}
}

func TestErrorsCrossTheSocketAsCodes(t *testing.T) {
	path, _ := start(t, newFake())
	c := dial(t, path)
	_, err := c.Account(t.Context(), "bob")
	e, ok := errors.AsType[*local.Error](err)
	if !ok || e.Code != local.CodeNotFound || e.Message != "no account bob" || e.Hint != "secmsg join" {
		t.Errorf("known error arrived as %#v", err)
	}
	_, err = c.Accounts(t.Context())
	e, ok = errors.AsType[*local.Error](err)
	if !ok || e.Code != local.CodeInternal || strings.Contains(e.Message, "secret") {
		t.Errorf("unknown error arrived as %#v", err)
	}
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	f := newFake()
	const calls = 200
	release := make(chan struct{})
	var started sync.WaitGroup
	started.Add(maxInFlight)
	var once [calls]sync.Once
	f.send = func(ctx context.Context, p local.SendParams) (local.SendResults, error) {
		var n int
		fmt.Sscan(p.Text, &n)
		if n < maxInFlight {
			once[n].Do(started.Done)
		}
		<-release
		return local.SendResults{Results: []local.SendResult{{ID: p.Text}}}, nil
	}
	path, _ := start(t, f)
	c := dial(t, path)
	var wg sync.WaitGroup
	call := func(n int) {
		text := fmt.Sprint(n)
		r, err := c.Send(t.Context(), local.SendParams{Peers: []string{"bob"}, Text: text})
		if err != nil || r.Results[0].ID != text {
			t.Errorf("call %s got %+v, %v", text, r, err)
		}
	}
	for n := range maxInFlight {
		wg.Go(func() { call(n) })
	}
	started.Wait() // the allowed number runs concurrently
	for n := maxInFlight; n < calls; n++ {
		wg.Go(func() { call(n) })
	}
	close(release)
	wg.Wait()
}

func TestSubscriptionKeepsOrderAndEndsWithReason(t *testing.T) {
	f := newFake()
	path, _ := start(t, f)
	c := dial(t, path)
	s, err := c.Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Subscribed(); got.Cursor != 7 || got.Newest != 9 {
		t.Errorf("snapshot = %+v", got)
	}
	const n = 5000
	go func() {
		for i := range n {
			f.events <- local.Event{Seq: int64(i + 1), Type: local.TypeMessage, Message: &local.Message{Text: "x"}}
		}
		f.mu.Lock()
		f.endErr = local.Errorf(local.CodeNotFound, "the consumer was removed")
		f.mu.Unlock()
		close(f.events)
	}()
	for i := range n {
		e, err := s.Next(t.Context())
		if err != nil || e.Seq != int64(i+1) {
			t.Fatalf("event %d: seq %d, %v", i+1, e.Seq, err)
		}
	}
	_, err = s.Next(t.Context())
	if e, ok := errors.AsType[*local.Error](err); !ok || e.Code != local.CodeNotFound {
		t.Errorf("end = %v", err)
	}
}

func TestSubscriptionIsClosedWhenTheCallerLeaves(t *testing.T) {
	f := newFake()
	path, _ := start(t, f)
	c := dial(t, path)
	s, err := c.Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	poll.Until(t, "the daemon's state", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.open == 0
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	f := newFake()
	path, _ := start(t, f)
	s, err := dial(t, path).Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next = %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next = %v", err)
	}
	go func() { f.events <- local.Event{Seq: 1, Type: local.TypeMessage} }()
	if e, err := s.Next(t.Context()); err != nil || e.Seq != 1 {
		t.Errorf("Next after an interrupted one = %+v, %v", e, err)
	}
}

func TestRefusedSubscription(t *testing.T) {
	path, _ := start(t, newFake())
	_, err := dial(t, path).Subscribe(t.Context(), local.SubscribeParams{Consumer: "refused"})
	if e, ok := errors.AsType[*local.Error](err); !ok || e.Code != local.CodeUsage {
		t.Errorf("err = %v", err)
	}
}

func TestStopAnswersFirst(t *testing.T) {
	f := newFake()
	path, stop := start(t, f)
	c := dial(t, path)
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-f.stopped
	stop()
	if _, err := c.Status(t.Context()); !isNoDaemon(err) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := local.Dial(t.Context(), local.Target{Sockets: []string{path}}); !isNoDaemon(err) {
		t.Errorf("dial after the end: %v", err)
	}
}

func TestEndOfServeDoesNotWaitForSilentReaders(t *testing.T) {
	f := newFake()
	path, stop := start(t, f)
	s, err := dial(t, path).Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The subscriber does not read: fill the socket until the writer blocks.
	big := local.Event{Type: local.TypeMessage, Message: &local.Message{Text: strings.Repeat("x", 1<<20)}}
	blocked := false
	for !blocked {
		select {
		case f.events <- big:
		case <-time.After(100 * time.Millisecond):
			blocked = true
		}
	}
	begin := time.Now()
	stop()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("Serve took %s to end", d)
	}
}

func isNoDaemon(err error) bool {
	e, ok := errors.AsType[*local.Error](err)
	return ok && e.Code == local.CodeNoDaemon
}
