// Package relay is the message server: the two WebSocket connections of each device, forwarding, mailboxes, presence,
// and the limits on all of them (rpc/PROTOCOL.md, sections 3 to 5). It never sees a plaintext.
//
// A Relay is safe for concurrent use and lives until Close. Each connection has one reader goroutine, and a writer
// goroutine only while there is something to write. Locks are taken in the order device, contact or socket, registry
// shard. No lock is held during a store call, except a device's opening lock.
//
// # Glossary
//
//   - contact: the connection on which a device sends (/v1/contact). Here it is the server's end of
//     it; daemon/link has a type of the same name for the client's end. The word also means an entry
//     in a user's address book; this package calls that a relation.
//   - replica: the connection on which a device receives (/v1/replica), again the server's end.
//   - conn: the interface that contact and replica share towards their socket.
//   - item: one envelope from its admission until its result, with its place in a mailbox.
//   - pair: a sending connection and one device that it sends to.
//
// # Inbound flow: an envelope from a sending device
//
//  1. socket.frames waits for a frame; contact.readFrame decodes it.
//  2. contact.send checks the step count (device.sending) and the sequence numbers of a Send.
//  3. contact.sendOne handles one envelope: checkShape looks at sizes, class and expiry, and
//     pairs.admit at the pair's go-back-N state.
//  4. contact.admit applies rates and contact.judge applies accounts, relations and devices, from the
//     cached directory first; a refusal is repeated against the store before it counts.
//  5. A refused envelope goes to contact.reject and ends here.
//  6. device.deliver takes an admitted one: in direct mode, replica.push queues it for the
//     recipient's connection; otherwise device.appendLocked hands it to the committer.
//  7. committer.commit appends a group to the store (Store.Append), then calls device.appended for
//     each, which starts the feeder, or reports that another node is to be woken through the bus.
//  8. item.answerLocked queues the result: contact.accept after the commit or after the recipient's
//     acknowledgement, contact.reject otherwise.
//  9. contact.waitRoom and contact.waitFrames stop the reader while too much is unanswered.
//  10. socket.write takes the results from contact.next and writes them.
//
// # Outbound flow: an envelope to a receiving device
//
//  1. replica.open checks the fence, ends an older connection, waits for committer.barrier, and
//     attaches the connection to its device in mailbox mode.
//  2. device.feedLocked starts device.feed, which reads the mailbox page by page (feedPage,
//     Store.Read) into replica.out.
//  3. device.enterDirectLocked switches to direct mode once the mailbox is drained; from then on
//     device.deliver puts envelopes into replica.out itself (replica.push).
//  4. socket.wake starts socket.write, which asks replica.next for frames; appendDeliver encodes
//     them, and their envelopes move from out to sent.
//  5. replica.readAck reads an Ack; replica.ack takes everything up to its number off sent.
//  6. An envelope from memory is answered to its sender and done; a stored one is queued for
//     deletion (device.deleteLocked), and deleter.delete removes its row.
//  7. device.boundPassed ends direct mode if an acknowledgement takes too long:
//     device.leaveDirectLocked appends everything in flight to the mailbox, in order.
//  8. replica.overdue answers OFFLINE for envelopes that are never stored and not acknowledged.
//  9. replica.detach does the same as step 7 when the connection ends, and detaches it.
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
	trace    trace
	buffers  sync.Pool // of *[]byte: incoming and outgoing frames

	memory   atomic.Int64 // bytes of ciphertext without a result
	lastPoll atomic.Int64 // when the store was last read, as since()

	mu        sync.Mutex // guards below
	sockets   map[*socket]struct{}
	perDevice map[key.DeviceID]int
	closing   bool

	conns     sync.WaitGroup // readers, writers and feeders
	parts     sync.WaitGroup // committer, deleter, presence, upkeep
	stopParts context.CancelFunc
	stopWakes func()
	closed    chan struct{} // closed when Close is complete
	closeOnce sync.Once
}

// New starts a relay. It returns an error if the store cannot be read.
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

// since returns the relay's monotonic time.
func (r *Relay) since() time.Duration { return time.Since(r.started) }

// ContactsChanged tells the relay that owner's entry for peer has changed in the store. Both get a presence update at
// once.
func (r *Relay) ContactsChanged(owner, peer string) {
	r.dir.forgetRelation(owner, peer)
	r.presence.pairChanged(owner, peer)
}

// AccountChanged tells the relay that an account was suspended, resumed or deleted, or has a new manifest. The
// connections of a suspended or deleted account are closed, and its mutual contacts get a presence update.
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

// wake is called by the bus when the mailbox of a device connected here has grown.
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

// reserve counts a connection that is about to be upgraded. It returns false if the device has too many.
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

// endAll sends a Bye to every socket that matches and ends it.
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

// Close ends all connections with Bye, commits the envelopes in flight, and waits for every goroutine. If ctx ends
// first, Close returns ctx's error; the work continues, and a second Close waits for it again.
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
