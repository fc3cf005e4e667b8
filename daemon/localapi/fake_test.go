package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"secmsg/rpc/local"
)

// fake is a Backend with answers set by the test. Other methods come from the embedded nil
// interface and panic.
type fake struct {
	Backend
	send    func(ctx context.Context, p local.SendParams) (local.SendResults, error)
	events  chan local.Event
	stopped chan struct{}
	profile string
	busy    string

	mu           sync.Mutex
	submitted    []string // texts
	acked        []string
	links        []local.Link
	linksChanged chan struct{}
	open         int // open subscriptions
	endErr       error
}

func newFake() *fake {
	return &fake{events: make(chan local.Event), stopped: make(chan struct{}), linksChanged: make(chan struct{})}
}

func (f *fake) Status(context.Context) (local.Status, error) {
	return local.Status{PID: 42, Version: "test"}, nil
}

func (f *fake) Hello() local.Hello { return local.Hello{PID: 42, Version: "test", Profile: f.profile} }

func (f *fake) CheckIdle(context.Context) error {
	if f.busy != "" {
		return local.Errorf(local.CodeRefused, "%s", f.busy)
	}
	return nil
}

func (f *fake) Links() ([]local.Link, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links, f.linksChanged
}

// setLinks changes the result of Links.
func (f *fake) setLinks(l ...local.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.linksChanged)
	f.links, f.linksChanged = l, make(chan struct{})
}

func (f *fake) Stop() { close(f.stopped) }

func (f *fake) Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error) {
	f.mu.Lock()
	f.submitted = append(f.submitted, p.Text)
	f.mu.Unlock()
	return func() (local.SendResults, error) {
		if f.send != nil {
			return f.send(ctx, p)
		}
		return local.SendResults{Results: []local.SendResult{{ID: "id", Peer: p.Peers[0], State: local.StateQueued}}}, nil
	}
}

func (f *fake) Accounts(context.Context) ([]local.Account, error) {
	return nil, errors.New("open /home/alice/secret: the storage key is 1234")
}

func (f *fake) Account(_ context.Context, name string) (local.Account, error) {
	return local.Account{}, fmt.Errorf("wrapped: %w", local.Errorf(local.CodeNotFound, "no account %s", name).WithHint("secmsg join"))
}

func (f *fake) Ack(_ context.Context, p local.AckParams) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = append(f.acked, p.ID)
	return nil
}

func (f *fake) Subscribe(_ context.Context, p local.SubscribeParams) (local.Subscribed, Subscription, error) {
	if p.Consumer == "refused" {
		return local.Subscribed{}, nil, local.Errorf(local.CodeUsage, "--since with a consumer that exists")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	return local.Subscribed{Cursor: 7, Newest: 9}, &fakeSubscription{f: f}, nil
}

type fakeSubscription struct{ f *fake }

func (s *fakeSubscription) Events() <-chan local.Event { return s.f.events }

func (s *fakeSubscription) Err() error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return s.f.endErr
}

func (s *fakeSubscription) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.open--
}

// start serves b on a real socket until the test ends, and checks that it ends cleanly.
func start(t testing.TB, b Backend) (path string, stop func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "d", "secmsg.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, b, slog.New(slog.DiscardHandler)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return path, stop
}

// dial connects a client that is closed when the test ends.
func dial(t testing.TB, path string) *local.Client {
	t.Helper()
	c, err := local.Dial(t.Context(), local.Target{Sockets: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
