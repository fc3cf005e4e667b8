// Package relay is the message server: the two WebSocket connections of each
// device, forwarding, mailboxes, presence, and the limits on all of them
// (PROTOCOL.md, sections 3 to 5). It never sees a plaintext.
//
// A Relay is safe for concurrent use and lives until Close. Each connection has
// one reader goroutine, and a writer goroutine only while there is something to
// write. Locks are taken in the order device, contact or socket, registry shard;
// none is held during a store call, except a device's opening lock.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/bus"
)

// Relay serves the replica and contact connections of one node.
type Relay struct {
	// constant
	store    Store
	tokens   Tokens
	bus      bus.Bus
	node     string
	log      *slog.Logger
	limits   Limits
	now      func() time.Time
	held     func() bool
	upgrader websocket.Upgrader
	started  time.Time // monotonic reference

	// parts with locks of their own
	devices  registry
	accounts accounts
	dir      directory
	presence presence
	commit   committer
	delete   deleter
	counters counters
	buffers  sync.Pool // of *[]byte: frames on their way in or out

	memory   atomic.Int64 // bytes of ciphertext that wait for a result
	lastPoll atomic.Int64 // when the store was last read, as since()

	mu        sync.Mutex // guards below
	sockets   map[*socket]struct{}
	perDevice map[key.DeviceID]int
	closing   bool

	conns     sync.WaitGroup // readers, writers and feeders
	parts     sync.WaitGroup // committer, deleter, presence, upkeep
	stopParts context.CancelFunc
	stopWakes func()
	closed    chan struct{} // closed when Close has done its work
	closeOnce sync.Once
}

// New starts a relay. It fails if the store cannot be read.
func New(opts Options) (*Relay, error) {
	if opts.Store == nil || opts.Tokens == nil {
		return nil, errors.New("relay: store and tokens are required")
	}
	opts.Limits.setDefaults()
	def(&opts.Node, "local")
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Held == nil {
		opts.Held = func() bool { return false }
	}
	if opts.Bus == nil {
		opts.Bus = bus.NewMemory()
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Relay{
		store: opts.Store, tokens: opts.Tokens, bus: opts.Bus, node: opts.Node,
		log: opts.Logger, limits: opts.Limits, now: opts.Now, held: opts.Held,
		started: time.Now(), sockets: make(map[*socket]struct{}), perDevice: make(map[key.DeviceID]int),
		stopParts: cancel, closed: make(chan struct{}),
	}
	r.upgrader = newUpgrader(&r.counters)
	r.buffers.New = func() any { b := make([]byte, 0, frameBuffer); return &b }
	r.devices.init(r)
	r.accounts.init(r.limits)
	r.dir.init(r)
	r.presence.init(r)
	r.commit.init(r)
	r.delete.init(r)

	up := upkeep{relay: r}
	if err := up.init(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("relay: %w", err)
	}
	stop, err := r.bus.Listen(ctx, r.node, r.wake)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("relay: %w", err)
	}
	r.stopWakes = stop
	for _, part := range []func(context.Context){r.commit.run, r.delete.run, r.presence.run, up.pings, up.polls, up.flushes, up.sweeps} {
		r.parts.Go(func() { part(ctx) })
	}
	return r, nil
}

// since is the monotonic clock of this relay.
func (r *Relay) since() time.Duration { return time.Since(r.started) }

// ContactsChanged tells the relay that owner's entry for peer has changed in
// the store; presence is pushed to both at once.
func (r *Relay) ContactsChanged(owner, peer string) {
	r.dir.forgetRelation(owner, peer)
	r.presence.pairChanged(owner, peer)
}

// AccountChanged tells the relay that an account was suspended, resumed or
// deleted or has a new manifest. Connections of a suspended or deleted account
// are closed, and its mutual contacts are told.
func (r *Relay) AccountChanged(ctx context.Context, name string) error {
	r.dir.forgetAccount(name)
	info, err := r.dir.account(ctx, name, true)
	if err != nil {
		return fmt.Errorf("relay: account changed: %w", err)
	}
	r.presence.accountChanged(name)
	reason := wire.Reason_REASON_SUSPENDED
	if !info.exists {
		r.dir.forgetRelationsOf(name)
		reason = wire.Reason_REASON_REVOKED
	} else if !info.suspended {
		return nil
	}
	r.endAll(func(s *socket) bool { return s.account == name }, reason)
	return nil
}

// wake is called by the bus: the mailbox of a device that is connected here has grown.
func (r *Relay) wake(id key.DeviceID) {
	if d := r.devices.peek(id); d != nil {
		d.mailboxGrew()
		d.release()
	}
}

// add registers a socket and its reader, unless the relay is closing.
func (r *Relay) add(s *socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.sockets[s] = struct{}{}
	r.conns.Add(1)
	return true
}

func (r *Relay) remove(s *socket) {
	r.mu.Lock()
	delete(r.sockets, s)
	r.mu.Unlock()
	r.unreserve(s.device)
}

// reserve counts a connection of a device that is about to be upgraded; false if it has too many.
func (r *Relay) reserve(id key.DeviceID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perDevice[id] >= maxSockets {
		return false
	}
	r.perDevice[id]++
	return true
}

func (r *Relay) unreserve(id key.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.perDevice[id]--; r.perDevice[id] <= 0 {
		delete(r.perDevice, id)
	}
}

// endAll says goodbye to all sockets that match.
func (r *Relay) endAll(match func(*socket) bool, reason wire.Reason) {
	r.mu.Lock()
	var list []*socket
	for s := range r.sockets {
		if match(s) {
			list = append(list, s)
		}
	}
	r.mu.Unlock()
	for _, s := range list {
		s.end(&wire.Bye{Reason: reason, Text: byeText(reason)})
	}
}

// Close ends all connections with Bye, commits what is in flight, and waits for
// every goroutine. It returns ctx's error if that takes longer than ctx allows;
// the work goes on, and a second Close waits for it again.
func (r *Relay) Close(ctx context.Context) error {
	r.closeOnce.Do(func() {
		r.mu.Lock()
		r.closing = true
		r.mu.Unlock()
		r.stopWakes()
		r.endAll(func(*socket) bool { return true }, wire.Reason_REASON_SHUTDOWN)
		go func() {
			defer close(r.closed)
			r.conns.Wait()
			r.commit.barrier()
			r.stopParts()
			r.parts.Wait()
		}()
	})
	select {
	case <-r.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("relay: close: %w", ctx.Err())
	}
}

// Handler serves /v1/contact and /v1/replica.
func (r *Relay) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/contact", func(w http.ResponseWriter, req *http.Request) {
		r.upgrade(w, req, wire.RoleContact, func(s *socket) conn { return newContact(s) })
	})
	mux.HandleFunc("GET /v1/replica", func(w http.ResponseWriter, req *http.Request) {
		r.upgrade(w, req, wire.RoleReplica, func(s *socket) conn { return newReplica(s) })
	})
	return mux
}
