package engine

import (
	"context"
	"log/slog"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Options make an Engine.
type Options struct {
	Account store.AccountID
	Address identity.Address
	Device  key.DeviceID
	Store   *store.Store
	Keyring *keyring.Keyring
	Trust   *trust.Trust
	Journal *journal.Journal
	Link    Link // may be set later, before Run, with SetLink
	Logger  *slog.Logger
	Now     func() time.Time // wall clock, for display and certificates; nil: time.Now
	Config  Config
	// SafeName makes the name of a peer's file safe; nil: its last element.
	SafeName func(name string) string
	// OnFiles is called after a commit when the file service may have something to
	// fetch, to end, or to delete at the server. It must not block.
	OnFiles func()
	// OnUp is called when the server can be reached again. It must not block.
	OnUp func()
	// Calls receives the events of calls; nil: this engine has no calls.
	Calls CallHandler
}

// Engine runs one account. See the package comment.
type Engine struct {
	// constant after Run began
	account store.AccountID
	self    identity.Address
	store   *store.Store
	keys    *keyring.Keyring
	trust   *trust.Trust
	journal *journal.Journal
	history *history.History
	link    Link
	logger  *slog.Logger
	now     func() time.Time
	cfg     Config
	onFiles func() // as in Options, never nil
	onUp    func() // as in Options, never nil

	conn connection // under a lock of its own

	*actor // the goroutine that owns the rest, and the ways into it

	// owned by the actor
	device    key.DeviceID
	selfPeer  store.PeerID
	loaded    bool          // the pending envelopes are in the window
	up        bool          // the contact connection stands and the fence is confirmed
	ready     chan struct{} // closed, and made anew, when up or loaded is set
	window    *window       // sealed envelopes without a final answer
	asking    *asking       // questions to the server about peers
	presence  *presence     // of contacts, as the server reports it
	relations relations     // contacts and blocks that the server must learn
	upkeep    *upkeep       // prekeys, certificate, own manifest
	signals   *signals      // of calls
	probes    probes        // of status --check
	waits     waits         // callers that wait for a message
}

// errStopped is the result of a call to an engine that does not run.
var errStopped = local.Errorf(local.CodeNoDaemon, "the account is not running")

// New makes an engine. Run starts it.
func New(o Options) *Engine {
	e := &Engine{
		account: o.Account, self: o.Address, device: o.Device, store: o.Store, keys: o.Keyring, trust: o.Trust,
		journal: o.Journal, link: o.Link, logger: o.Logger, now: o.Now, cfg: o.Config.withDefaults(),
		ready: make(chan struct{}), presence: newPresence(), upkeep: newUpkeep(), signals: newSignals(o.Calls),
		probes: make(probes), waits: make(waits),
	}
	e.conn.status = status{device: o.Device, changed: make(chan struct{})}
	e.window, e.asking = newWindow(e.cfg), newAsking(e.cfg)
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	e.actor = newActor(e.store, e.logger)
	if e.now == nil {
		e.now = time.Now
	}
	if e.onFiles = o.OnFiles; e.onFiles == nil {
		e.onFiles = func() {}
	}
	if e.onUp = o.OnUp; e.onUp == nil {
		e.onUp = func() {}
	}
	e.history = history.New(history.Options{
		Account: o.Account, Self: o.Address.String(), Trust: o.Trust, Journal: o.Journal, Logger: e.logger,
		Now: e.now, ProfileTime: e.profileTime, DeviceText: func(id [16]byte) string { return key.DeviceID(id).String() },
		SafeName: o.SafeName, AutoAccept: e.cfg.AutoAccept,
		Hooks: history.Hooks{
			StateChanged: e.waits.tell, FilesChanged: e.onFiles, ReceiptOwed: e.receiptOwed,
			FileExpires: func(d time.Duration) { e.schedule(taskFiles, d) },
		},
	})
	return e
}

// SetLink sets the link, which needs the engine as its handler; before Run.
func (e *Engine) SetLink(l Link) { e.link = l }

// Run serves the account until ctx ends. An Engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	return e.run(ctx, func() {
		e.beginTerm()
		e.schedule(taskLoad, 0)
	}, e.runTask)
}

// profileTime is the clock of lifetimes.
func (e *Engine) profileTime() time.Time { return e.store.ProfileTime() }

// keyTime is the clock of sessions, prekeys and manifests.
func (e *Engine) keyTime() time.Time { return e.store.KeyTime() }

// Wake reports a change of trust, contacts or the lock: held messages and
// quarantined envelopes are looked at again, relations are pushed, and messages
// that a locked profile queued move to the outbox.
func (e *Engine) Wake() {
	err := e.do(context.Background(), func() error {
		e.wakeUp()
		return nil
	})
	if err != nil {
		e.logger.Debug("wake", "error", err)
	}
}

// wakeUp schedules everything that a change of trust may have released.
func (e *Engine) wakeUp() {
	for _, t := range []task{taskLoad, taskLocked, taskRelease, taskQuarantine, taskRelations, taskReceipts, taskSubscribe, taskPump, taskAccept} {
		e.schedule(t, 0)
	}
}
