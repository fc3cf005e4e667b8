package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"secmsg/rpc/wire"
)

// Link maintains the two connections of a device. The replica connection depends on the
// contact connection: it is opened when the fence is confirmed and ends with it. So a copy
// of the device whose contact connection was taken over does not receive anything either.
type Link struct {
	*Client

	// constant
	handler Handler
	logger  *slog.Logger
	network func() string // nil: unknown

	mu      sync.Mutex
	contact *contact      // nil: not connected; guarded by mu
	kick    chan struct{} // closed and replaced by Kick; guarded by mu
}

// New returns a link that Run starts.
func New(o Options) *Link {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Link{
		Client:  NewClient(o.Endpoint, o.Account, o.Device, o.Signer),
		handler: o.Handler, logger: logger, network: o.Network, kick: make(chan struct{}),
	}
}

// Run maintains the connections until ctx ends, or until the server answers that this copy
// of the device is outdated or revoked. In the second case it notifies the handler and
// returns a *ByeError. All goroutines have ended when it returns. It may be
// called again after it has returned, also as another device; see [Client.SetDevice].
func (l *Link) Run(ctx context.Context) error {
	defer l.Client.Close()
	wait := newWaiter(l.timing, l.network)
	for {
		kick := l.kicked() // a kick during a failing attempt counts, too
		wait.begin()
		start := time.Now()
		confirmed, err := l.contactOnce(ctx)
		if confirmed {
			kick = l.kicked()
		}
		l.handler.Down(wire.RoleContact, at(l.hostPort, err))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if reason := fatalReason(err); reason != wire.Reason_REASON_UNSPECIFIED {
			l.logger.Error("the server refuses this copy of the device", "error", err)
			l.handler.Fatal(reason)
			return err
		}
		l.logger.Info("contact connection ended", "error", err)
		if confirmed && time.Since(start) >= l.timing.Stable {
			wait.reset()
		}
		if !wait.sleep(ctx, kick, err) {
			return context.Cause(ctx)
		}
	}
}

// errReplica ends a contact connection because its replica connection was refused; only a
// new fence can clarify why.
var errReplica = errors.New("replica connection refused")

func (l *Link) contactOnce(ctx context.Context) (confirmed bool, err error) {
	c, value, serverTime, err := l.openContact(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	var wg sync.WaitGroup
	defer func() {
		cancel(err)
		wg.Wait()
		stop()
		c.close()
	}()

	l.mu.Lock()
	l.contact = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.contact = nil
		l.mu.Unlock()
	}()
	l.handler.Up(wire.RoleContact, serverTime)
	wg.Go(func() {
		if err := l.runReplica(ctx, value); ctx.Err() == nil {
			if fatalReason(err) != wire.Reason_REASON_REVOKED {
				err = fmt.Errorf("%w: %v", errReplica, err)
			}
			c.fail(err)
		}
	})
	return true, c.serve(ctx, l.handler)
}

// Kick ends the delay before the next attempt, because the network has changed or a user
// asked.
func (l *Link) Kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.kick)
	l.kick = make(chan struct{})
}

func (l *Link) kicked() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kick
}

// Send queues envelopes for the contact connection, in order, and sets their seq. Answers
// are passed to Handler.Results; envelopes without an answer when the connection ends must
// be sent again. It fails with [ErrDown] if there is no connection, and with [ErrTooLarge]
// for a ciphertext above the limit.
func (l *Link) Send(ctx context.Context, envelopes []*wire.Outgoing, steps uint64) error {
	c := l.current()
	if c == nil {
		return fmt.Errorf("send: %w", ErrDown)
	}
	return c.sendEnvelopes(ctx, envelopes, steps)
}

// Subscribe sets the accounts whose presence is watched, for this contact connection only.
// It fails with [ErrDown].
func (l *Link) Subscribe(ctx context.Context, accounts []string, announce bool) error {
	c := l.current()
	if c == nil {
		return fmt.Errorf("subscribe: %w", ErrDown)
	}
	if len(accounts) > wire.MaxSubscribe {
		return fmt.Errorf("subscribe to %d accounts: %w", len(accounts), ErrTooLarge)
	}
	if err := c.enqueueFrame(ctx, &wire.ContactClient{Frame: &wire.ContactClient_Subscribe{
		Subscribe: &wire.Subscribe{Accounts: accounts, Announce: announce}}}); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

func (l *Link) current() *contact {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contact
}
