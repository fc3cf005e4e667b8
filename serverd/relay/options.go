package relay

import (
	"context"
	"log/slog"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/bus"
	"secmsg/serverd/store"
)

// Tokens checks access tokens. Verify returns an error unless the token is
// good for that role now and its device may connect; it fails closed.
type Tokens interface {
	Verify(ctx context.Context, token string, role wire.Role) (account string, device key.DeviceID, err error)
}

// Store is what the relay needs of the server's store.
type Store interface {
	store.Fences
	store.Mailboxes
	Account(ctx context.Context, name string) (store.Account, error)
	Devices(ctx context.Context, account string) ([]store.Device, error)
	Manifests(ctx context.Context, name string, after uint64, limit int) ([]store.Manifest, error)
	Relation(ctx context.Context, owner, peer string) (store.Relation, error)
	AddRequest(ctx context.Context, from, to string, messageID [16]byte) (bool, error)
	SetLastSeen(ctx context.Context, seen map[key.DeviceID]time.Time) error
	Revocations(ctx context.Context, after int64) ([]store.Revocation, error)
}

// Options of a Relay. Store and Tokens are required.
type Options struct {
	Store  Store
	Tokens Tokens
	// Bus joins the nodes of a server. Default: one for this process.
	Bus bus.Bus
	// Node is this node's name on the bus. Default "local".
	Node   string
	Logger *slog.Logger
	Limits Limits
	// Now is the server's time: expiry and what clients are told. Intervals are measured by the monotonic clock.
	Now func() time.Time
	// Held says that Now is not to be trusted for deleting: nothing is swept. Default: never.
	Held func() bool
}

// Limits are the relay's bounds and intervals; a zero field has its default (rpc/DELIVERY.md, "Limits" and "Connections").
type Limits struct {
	// MessageEvery and MessageBurst bound one account's messages: 100/s sustained, 5,000 at once.
	// The envelopes of one message count once. Negative MessageBurst: no bound.
	MessageEvery time.Duration
	MessageBurst int
	// StrangerEvery and StrangerBurst bound the guesses at names: after 60 unknown recipients
	// within an hour an account reaches only its mutual contacts.
	StrangerEvery time.Duration
	StrangerBurst int
	// WatchEvery and WatchBurst bound the names in one account's subscriptions to presence:
	// 1,000/s sustained, 20,000 at once. Beyond it the relay reads that connection more slowly.
	WatchEvery time.Duration
	WatchBurst int
	// Mailbox bounds one device's mailbox: 10,000 envelopes, 100 MiB.
	Mailbox store.MailboxLimits
	// Retention is how long an envelope waits: 30 days.
	Retention time.Duration

	// HandoffEnvelopes and HandoffBytes bound what is in flight from memory to one device: 256, 1 MiB.
	HandoffEnvelopes int
	HandoffBytes     int
	// HandoffWait is how long a device may leave it unacknowledged: 250 ms.
	HandoffWait time.Duration
	// OnlineWait is how long a device may leave unacknowledged what is never stored: 10 s.
	OnlineWait time.Duration
	// SendWindow and SendBytes bound one connection's envelopes that wait for their result: 1,024, 1 MiB.
	// Beyond it the relay stops reading from that connection.
	SendWindow int
	SendBytes  int
	// MemoryBytes bounds all envelopes in memory: 256 MiB. Beyond it senders are told to wait.
	MemoryBytes int64

	// Open bounds the time from the upgrade to an open connection: 30 s.
	Open time.Duration
	// Ping is how often a connection is pinged: 25 s. One that is silent for two is closed.
	Ping time.Duration
	// Write bounds one write: 10 s.
	Write time.Duration
	// Farewell bounds the time to write a Bye before the socket is closed: 1 s.
	Farewell time.Duration
	// Revocations is how often revocations and notices are looked for: 2 s.
	Revocations time.Duration
	// StoreGrace is how long the store may be unreadable before upgrades are refused: 10 s.
	StoreGrace time.Duration
	// StepsFlush is how often step counts become durable: 5 s.
	StepsFlush time.Duration
	// Sweep is how often expired envelopes are looked for: 1 min.
	Sweep time.Duration
	// Directory is how long an account's devices and relations are believed; refusals are always fresh: 5 s.
	Directory time.Duration
}

// def sets a zero field to its default.
func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (l *Limits) setDefaults() {
	def(&l.MessageEvery, 10*time.Millisecond)
	def(&l.MessageBurst, 5000)
	def(&l.StrangerEvery, time.Minute)
	def(&l.StrangerBurst, 60)
	def(&l.WatchEvery, time.Millisecond)
	def(&l.WatchBurst, 20_000)
	def(&l.Mailbox.Envelopes, 10_000)
	def(&l.Mailbox.Bytes, 100<<20)
	def(&l.Retention, wire.MailboxRetention)
	def(&l.HandoffEnvelopes, 256)
	def(&l.HandoffBytes, 1<<20)
	def(&l.HandoffWait, 250*time.Millisecond)
	def(&l.OnlineWait, wire.WriteTimeout)
	def(&l.SendWindow, 1024)
	def(&l.SendBytes, 1<<20)
	def(&l.MemoryBytes, 256<<20)
	def(&l.Open, 30*time.Second)
	def(&l.Ping, wire.PingInterval)
	def(&l.Write, wire.WriteTimeout)
	def(&l.Farewell, time.Second)
	def(&l.Revocations, 2*time.Second)
	def(&l.StoreGrace, 10*time.Second)
	def(&l.StepsFlush, 5*time.Second)
	def(&l.Sweep, time.Minute)
	def(&l.Directory, 5*time.Second)
}
