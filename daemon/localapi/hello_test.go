package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"secmsg/rpc/local"
	"secmsg/scripts/poll"
)

// at returns the target for one socket.
func at(path string) local.Target { return local.Target{Sockets: []string{path}} }

// TestIdle: the daemon may be restarted only if that disturbs nobody.
func TestIdle(t *testing.T) {
	f := newFake()
	path, _ := start(t, f)
	asking := dial(t, path)
	refused := func(what string) {
		t.Helper()
		err := asking.StopIfIdle(t.Context())
		if e, ok := errors.AsType[*local.Error](err); !ok || e.Code != local.CodeRefused {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := dial(t, path)
	refused("another command is connected")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	to := at(path)
	to.Caller.Resumes = true
	bot, err := local.Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer bot.Close()
	stream, err := bot.Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	f.busy = "a call"
	refused("the backend is busy")
	f.busy = ""
	// The server notices the end of a connection a moment later.
	poll.Until(t, "the daemon's state", func() bool { return asking.StopIfIdle(t.Context()) == nil })
	<-f.stopped
}

// TestRequestThatTheEndCutsOff: a request cut off by the end of the daemon is answered as
// if the daemon were gone, not as if its caller had interrupted it.
func TestRequestThatTheEndCutsOff(t *testing.T) {
	for _, cut := range []error{context.Canceled, local.Errorf(local.CodeInterrupted, "interrupted")} {
		f := newFake()
		waits := make(chan struct{})
		f.send = func(ctx context.Context, _ local.SendParams) (local.SendResults, error) {
			close(waits)
			<-ctx.Done()
			return local.SendResults{}, cut
		}
		path, stop := start(t, f)
		c := dial(t, path)
		p, err := c.Start(local.MethodMessageSend, local.SendParams{Peers: []string{"bob"}, Text: "x"})
		if err != nil {
			t.Fatal(err)
		}
		<-waits
		stop()
		err = p.Wait(t.Context(), nil)
		if e, ok := errors.AsType[*local.Error](err); !ok || e.Code != local.CodeNoDaemon || !strings.Contains(e.Message, "stopped") {
			t.Errorf("%v: %v", cut, err)
		}
	}
}

// TestWrongProfile skips the daemon of another profile.
func TestWrongProfile(t *testing.T) {
	one, two := newFake(), newFake()
	one.profile, two.profile = t.TempDir(), t.TempDir()
	first, _ := start(t, one)
	second, _ := start(t, two)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(two.profile, link); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{two.profile, link} {
		c, err := local.Dial(t.Context(), local.Target{Sockets: []string{first, second}, Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Target().Sockets[0]; got != second {
			t.Errorf("%s was taken for %s", got, profile)
		}
		_ = c.Close()
	}
	if _, err := local.Dial(t.Context(), local.Target{Sockets: []string{first, second}, Profile: t.TempDir()}); !local.IsAbsent(err) {
		t.Errorf("a third profile: %v", err)
	}
}

// TestLastWord: a subscriber learns whether the daemon was stopped or has failed.
func TestLastWord(t *testing.T) {
	for name, c := range map[string]struct {
		cause   error
		stopped bool
	}{
		"signal": {context.Canceled, true}, "caller": {ErrStop, true}, "failure": {errors.New("the disk"), false},
	} {
		path := filepath.Join(t.TempDir(), "d", "s")
		ln, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, ln, newFake(), slog.New(slog.DiscardHandler)) }()
		client := dial(t, path)
		s, err := client.Subscribe(t.Context(), local.SubscribeParams{})
		if err != nil {
			t.Fatal(err)
		}
		cancel(c.cause)
		if _, err := s.Next(t.Context()); !isNoDaemon(err) || s.Stopped() != c.stopped {
			t.Errorf("%s: %v, stopped: %v", name, err, s.Stopped())
		}
		_ = s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLinks: a subscriber that asked for it learns when a server becomes unreachable and
// reachable.
func TestLinks(t *testing.T) {
	f := newFake()
	path, _ := start(t, f)
	c := dial(t, path)
	f.setLinks(local.Link{Account: "a@x", Connected: true}, local.Link{Account: "b@x", Error: local.Errorf(local.CodeUnreachable, "no way")})
	s, err := c.Subscribe(t.Context(), local.SubscribeParams{Links: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ofOne, err := c.Subscribe(t.Context(), local.SubscribeParams{Links: true, AccountParam: local.AccountParam{Account: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ofOne.Close()
	silent, err := c.Subscribe(t.Context(), local.SubscribeParams{})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silent.OnLink(func(l local.Link) { t.Errorf("told unasked: %+v", l) })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	watch := func(s *local.Stream) <-chan string {
		told := make(chan string, 10)
		s.OnLink(func(l local.Link) { told <- fmt.Sprint(l.Account, " ", l.Connected) })
		wg.Go(func() { _, _ = s.Next(ctx) })
		return told
	}
	all, one := watch(s), watch(ofOne)
	watch(silent)
	want := func(told <-chan string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got := <-told; got != text {
				t.Errorf("told %q, want %q", got, text)
			}
		}
	}
	want(all, "b@x false")
	f.setLinks(local.Link{Account: "a@x"}, local.Link{Account: "b@x"})
	want(all, "a@x false")
	want(one, "a@x false")
	f.setLinks(local.Link{Account: "a@x", Connected: true}, local.Link{Account: "b@x", Connected: true})
	want(all, "a@x true", "b@x true")
	want(one, "a@x true")
}

// TestDoor: when the socket's file is removed, another socket is created, at the next place
// if the first is taken. Existing connections continue.
func TestDoor(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a", "s"), filepath.Join(dir, "b", "s")
	announced := make(chan string, 10)
	d, err := NewDoor(nil, func() []string { return []string{first, second} },
		func(s string) error { announced <- s; return nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-announced; got != first {
		t.Fatalf("announced %s", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- Serve(ctx, d, newFake(), slog.New(slog.DiscardHandler)) }()
	go func() { d.Watch(ctx); done <- nil }()
	old := dial(t, first)
	// Somebody else listens there now, like a started socket unit. The rename is atomic:
	// between two steps the Door would take the path again.
	other, err := net.Listen("unix", first+".other")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(first+".other", first); err != nil {
		t.Fatal(err)
	}
	if got := <-announced; got != second || d.Addr().String() != second {
		t.Errorf("announced %s, address %s", got, d.Addr())
	}
	if _, err := dial(t, second).Status(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := old.Status(t.Context()); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	// The other listener ends, and the directory of the second place is removed.
	_ = other.Close()
	if err := errors.Join(os.Remove(first), os.RemoveAll(filepath.Dir(second))); err != nil {
		t.Fatal(err)
	}
	if got := <-announced; got != first {
		t.Errorf("announced %s", got)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(first); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
