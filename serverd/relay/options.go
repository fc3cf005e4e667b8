package relay

import (
	"context"
	"log/slog"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/bus"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

// Tokens checks access tokens. Verify returns an error unless the token is valid for the role now and its device may
// connect. If it cannot find out, it returns an error too.
type Tokens interface {
	Verify(ctx context.Context, token string, role wire.Role) (account string, device key.DeviceID, err error)
}

// Store is the part of the server's store that the relay uses.
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
	// Now is the server's clock, used for expiry and for times sent to clients. Intervals use the monotonic clock.
	Now func() time.Time
	// Held reports that Now must not be trusted for deletion; nothing is swept then. Default: never.
	Held func() bool
}

// Limits are the relay's bounds and intervals. A zero field means its default (rpc/DELIVERY.md).
type Limits struct {
	// Messages limits the messages of one account: 100/s sustained, 5,000 at once.
	// The envelopes of one message count once. A negative Burst means no limit.
	Messages limit.Rate
	// Strangers limits one account's messages to unknown names: 60, then one a minute.
	// Beyond it the account reaches only its mutual contacts.
	Strangers limit.Rate
	// Watched limits the names in one account's subscriptions to presence: 1,000/s
	// sustained, 20,000 at once. Beyond it the relay reads that connection more slowly.
	Watched limit.Rate
	// Mailbox bounds one device's mailbox: 10,000 envelopes, 100 MiB.
	Mailbox store.MailboxLimits
	// Retention is how long the mailbox keeps an envelope: 30 days.
	Retention time.Duration

	// HandoffEnvelopes and HandoffBytes bound the envelopes in flight from memory to one device: 256, 1 MiB.
	HandoffEnvelopes int
	HandoffBytes     int
	// HandoffWait is how long a device may leave such an envelope unacknowledged: 250 ms.
	HandoffWait time.Duration
	// OnlineWait is how long a device may leave an envelope of class ONLINE or PROBE unacknowledged: 10 s.
	OnlineWait time.Duration
	// SendWindow and SendBytes bound one connection's envelopes without a result: 1,024, 1 MiB. Above that the relay
	// stops reading from the connection.
	SendWindow int
	SendBytes  int
	// MemoryBytes bounds all envelopes in memory: 256 MiB. Above that the relay asks senders to retry later.
	MemoryBytes int64

	// Open bounds the time from the upgrade to an open connection: 30 s.
	Open time.Duration
	// Ping is the interval between pings on a connection: 25 s. A connection silent for two intervals is closed.
	Ping time.Duration
	// Write bounds one write: 10 s.
	Write time.Duration
	// Farewell bounds the time to write a Bye before the socket is closed: 1 s.
	Farewell time.Duration
	// Revocations is how often the relay looks for revocations and notices: 2 s.
	Revocations time.Duration
	// StoreGrace is how long the store may be unreadable before upgrades are refused: 10 s.
	StoreGrace time.Duration
	// StepsFlush is how often step counts are written to the store: 5 s.
	StepsFlush time.Duration
	// Sweep is how often the relay looks for expired envelopes: 1 min.
	Sweep time.Duration
	// Directory is how long a cached account or relation is used: 5 s. Refusals always read the store.
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
	def(&l.Messages.Every, 10*time.Millisecond)
	def(&l.Messages.Burst, 5000)
	def(&l.Strangers.Every, time.Minute)
	def(&l.Strangers.Burst, 60)
	def(&l.Watched.Every, time.Millisecond)
	def(&l.Watched.Burst, 20_000)
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
