package history

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Options describe the account of a History.
type Options struct {
	Account     store.AccountID
	Self        string // the account's own address
	Trust       *trust.Trust
	Journal     *journal.Journal
	Logger      *slog.Logger
	Now         func() time.Time // wall clock, for display
	ProfileTime func() time.Time // the clock of retention and expiry
	// DeviceText formats a device id. It is passed in because this package
	// imports no cryptography.
	DeviceText func(id [16]byte) string
	// SafeName makes a peer's file name safe to use here; nil: its last element.
	SafeName func(name string) string
	// AutoAccept is the size up to which a contact's files are fetched without
	// asking, for contacts without a policy of their own; 0: none.
	AutoAccept uint64
	Hooks      Hooks
}

// Hooks are called after the commit of the transaction that they concern, in
// the goroutine that ran it. They must not block. None may be nil.
type Hooks struct {
	// StateChanged reports that an own message has reached a state.
	StateChanged func(store.MessageID, Change)
	// FilesChanged reports that the file service may have something to fetch, to
	// end, or to delete at the server.
	FilesChanged func()
	// FileExpires reports that a file expires after d.
	FileExpires func(d time.Duration)
	// ReceiptOwed reports that a receipt is due.
	ReceiptOwed func()
}

// Change is a state that an own message has reached, and when.
type Change struct {
	State, Reason string
	At            int64 // Unix milliseconds
}

// History is the visible history of one account. It is safe for concurrent use
// as far as the transactions that are passed in allow it.
type History struct {
	account     store.AccountID
	self        string
	trust       *trust.Trust
	journal     *journal.Journal
	logger      *slog.Logger
	now         func() time.Time
	profileTime func() time.Time
	deviceText  func(id [16]byte) string
	safeName    func(name string) string
	autoAccept  uint64
	hooks       Hooks

	unreadable atomic.Int64 // messages that could not be read, in this run
}

// New makes the history of an account.
func New(o Options) *History {
	if o.SafeName == nil {
		o.SafeName = baseName
	}
	return &History{
		account: o.Account, self: o.Self, trust: o.Trust, journal: o.Journal, logger: o.Logger, now: o.Now, profileTime: o.ProfileTime,
		deviceText: o.DeviceText, safeName: o.SafeName, autoAccept: o.AutoAccept, hooks: o.Hooks,
	}
}

// Unreadable returns how many messages could not be read in this run.
func (h *History) Unreadable() int64 { return h.unreadable.Load() }

// baseName stands in for Options.SafeName.
func baseName(name string) string { return filepath.Base(filepath.Clean("/" + name)) }

// isSelf reports whether a peer is the account itself: a message to it is a note.
func (h *History) isSelf(tx *store.Tx, peer store.PeerID) (bool, error) {
	self, err := tx.FindPeer(h.account, h.self)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil && self == peer, err
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// TimeMS converts Unix milliseconds, with 0 as the zero time.
func TimeMS(ms int64) local.Time {
	if ms == 0 {
		return local.Time{}
	}
	return local.Time{Time: time.UnixMilli(ms)}
}
