// Package store keeps the server's truth: accounts, manifests, prekeys,
// contacts, fences and mailboxes. The interfaces stand in this file, one
// backend in each other file, and one conformance suite runs on all of them.
// A method that changes something returns only after the change is durable.
// All methods are safe for concurrent use; a Store lives until Close.
package store

import (
	"context"
	"errors"
	"time"

	"secmsg/crypto/key"
)

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("not found")
	ErrNameTaken = errors.New("account name is taken")
	ErrInvite    = errors.New("invite is unknown, used, expired or revoked")
	ErrConflict  = errors.New("conflicts with the stored version")
	ErrFull      = errors.New("mailbox is full")
	ErrDisk      = errors.New("storage is full or failing")
	// ErrCorrupt is a database that SQLite finds damaged; it is always ErrDisk, too.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrTooNew is returned by Open for a database of a newer version; the database is left unchanged.
	ErrTooNew = errors.New("database was written by a newer version")
)

// Invite is a right to register accounts.
type Invite struct {
	ID        string // public handle for list and revoke, not the token
	TokenHash [32]byte
	Uses      int // how many registrations it allows
	Used      int
	Created   time.Time
	Expires   time.Time
	Revoked   bool
}

// Account is a registered account.
type Account struct {
	Name      string
	Identity  []byte   // 32-byte Ed25519 account identity key
	Chain     [][]byte // leaf and issuing certificate, DER
	Created   time.Time
	Suspended bool
	// Newest manifest
	ManifestVersion uint64
	ManifestHash    [32]byte
	Manifest        []byte
}

// Device is a device of an account's newest manifest, or a former one (Revoked).
type Device struct {
	ID       key.DeviceID
	Account  string
	Signing  []byte // 32-byte Ed25519 device signing key
	Name     string
	Added    time.Time
	Revoked  bool
	LastSeen time.Time
}

// Manifest is one stored manifest version.
type Manifest struct {
	Version uint64
	Hash    [32]byte
	Signed  []byte
	Devices []Device
}

// Revocation tells that a device may no longer connect (its row number grows).
type Revocation struct {
	Row     int64
	Account string
	Device  key.DeviceID
}

// Registration is all that one registration writes, in one transaction.
type Registration struct {
	TokenHash [32]byte
	Name      string
	Identity  []byte
	Chain     [][]byte
	Manifest  Manifest
	Now       time.Time
}

// Prekey is a stored signed prekey; Public is its full signed encoding.
type Prekey struct {
	ID      uint32
	Public  []byte
	Expires time.Time
}

// Prekeys is an upload; a nil signed or last-resort key leaves the stored one.
type Prekeys struct {
	Signed          *Prekey
	LastResort      *Prekey
	OneTimeExchange []Prekey
	OneTimeKEM      []Prekey
}

// KeptPrekeys are the ids of one-time keys that an upload left in the store, in
// the order of the upload.
type KeptPrekeys struct{ OneTimeExchange, OneTimeKEM []uint32 }

// Bundle is one device's prekeys as handed to one requester; one-time keys in it are used up.
type Bundle struct {
	Device          key.DeviceID
	Signed          *Prekey
	KEM             *Prekey // one-time if one was left, else last resort
	OneTimeExchange *Prekey // nil when none was left
}

// PrekeyCount is a device's stock.
type PrekeyCount struct {
	SignedExpires, LastResortExpires time.Time // zero: none
	OneTimeExchange, OneTimeKEM      int
}

// Relation values of a contact entry.
type Relation string

// The relations; they equal those of the REST API.
const (
	RelationNone    Relation = ""
	RelationContact Relation = "contact"
	RelationBlocked Relation = "blocked"
)

// Fence is a device's fence (crypto/SPEC.md).
type Fence struct {
	Confirmed, Issued []byte
	Steps             uint64
}

// Mail is one envelope in, or on its way into, a device's mailbox.
type Mail struct {
	Row          int64 // assigned by Append; grows within a mailbox
	Account      string
	Device       key.DeviceID // the recipient
	MessageID    [16]byte
	Class        uint8 // wire.Class
	Sender       string
	SenderDevice key.DeviceID
	Accepted     time.Time
	Expires      time.Time
	Ciphertext   []byte
	// Request marks a stranger's request: of one message id a device takes one
	// envelope ever; a retry of it is answered as stored, with Row 0.
	Request bool
	// Notice rows (class notice)
	NoticeReason    uint8
	NoticeRecipient string
	NoticeDevice    key.DeviceID
}

// Numbers of rpc/wire that the store writes itself; a test of the relay holds
// them equal, since this package knows no wire format.
const (
	ClassDurable     uint8 = 1
	ClassNotice      uint8 = 4
	NoticeDeviceGone uint8 = 6
	NoticeExpired    uint8 = 11
)

// NoticeRetention is how long a notice waits for the sender's device (rpc/DELIVERY.md, promise 10).
const NoticeRetention = 30 * 24 * time.Hour

// MailboxLimits bound one device's mailbox.
type MailboxLimits struct {
	Envelopes int
	Bytes     int64
}

// Accounts holds invites, accounts, devices and manifests.
type Accounts interface {
	CreateInvite(ctx context.Context, inv Invite) error
	ListInvites(ctx context.Context) ([]Invite, error)
	RevokeInvite(ctx context.Context, id string) error
	// Invite returns the invite with that token hash if it can still be used (or was used; the caller looks at the fields), else ErrInvite.
	Invite(ctx context.Context, tokenHash [32]byte) (Invite, error)

	// Register consumes one use of the invite and creates account, device and manifest.
	// The same token, name, identity and manifest again return the existing account.
	// It fails with ErrInvite, ErrNameTaken (the invite is not used up) or ErrConflict (a device id is in use).
	Register(ctx context.Context, r Registration) (Account, error)
	Account(ctx context.Context, name string) (Account, error)
	ListAccounts(ctx context.Context, after string, limit int) ([]Account, error)
	SetSuspended(ctx context.Context, name string, suspended bool) error
	SetChain(ctx context.Context, name string, chain [][]byte) error
	DeleteAccount(ctx context.Context, name string) error

	// PutManifest stores m if the newest manifest has hash previous; devices that m drops are revoked and their mailboxes, fences and prekeys deleted. Else ErrConflict; also for a version that does not grow, or a device id that was revoked or is another account's. The newest manifest once more is no error.
	PutManifest(ctx context.Context, name string, previous [32]byte, m Manifest, now time.Time) error
	Manifests(ctx context.Context, name string, after uint64, limit int) ([]Manifest, error)
	Device(ctx context.Context, id key.DeviceID) (Device, error)
	Devices(ctx context.Context, account string) ([]Device, error)
	SetLastSeen(ctx context.Context, seen map[key.DeviceID]time.Time) error
	// Revocations lists revocations with Row > after, oldest first.
	Revocations(ctx context.Context, after int64) ([]Revocation, error)
}

// PrekeyStock holds prekeys. One-time keys are handed out once, also under concurrency.
type PrekeyStock interface {
	// PutPrekeys stores an upload. One-time keys beyond maxOneTime of a kind, and ids that the device has uploaded before (also when used up since), are left out; keys that expired by now make room. It returns which one-time keys of the upload the store has, now or since an earlier upload of the same. A device that is unknown or revoked is ErrNotFound.
	PutPrekeys(ctx context.Context, device key.DeviceID, p Prekeys, maxOneTime int, now time.Time) (KeptPrekeys, error)
	// TakeBundles leaves out devices that have no valid signed prekey or no KEM key.
	TakeBundles(ctx context.Context, devices []key.DeviceID, now time.Time) ([]Bundle, error)
	CountPrekeys(ctx context.Context, device key.DeviceID, now time.Time) (PrekeyCount, error)
}

// ContactLists holds who has whom as a contact, and blocks.
type ContactLists interface {
	SetRelation(ctx context.Context, owner, peer string, r Relation) error // RelationNone removes
	Relations(ctx context.Context, owner string) (map[string]Relation, error)
	Relation(ctx context.Context, owner, peer string) (Relation, error)
	// AddRequest records the message id of a stranger's request; it reports whether the pair may leave this message (first one, or the same id again).
	AddRequest(ctx context.Context, from, to string, messageID [16]byte) (bool, error)
}

// Fences holds each device's fence.
type Fences interface {
	Fence(ctx context.Context, device key.DeviceID) (Fence, error) // zero Fence when there is none
	// IssueFence stores issued beside the confirmed value and raises steps.
	IssueFence(ctx context.Context, device key.DeviceID, issued []byte, steps uint64) error
	// ConfirmFence makes the issued value the confirmed one; ErrNotFound without an issued value.
	ConfirmFence(ctx context.Context, device key.DeviceID) error
	RaiseSteps(ctx context.Context, steps map[key.DeviceID]uint64) error // keeps the higher
}

// Mailboxes holds undelivered envelopes. Where an envelope is dropped because its
// device is gone, or expires, the sender's device is left a notice in the
// same transaction, above its limits (its own envelopes were within limits).
type Mailboxes interface {
	// Append stores mails in order; results[i] is nil, ErrFull or ErrNotFound (no such device) for mails[i]. After an ErrFull all later mails of the call for that device are ErrFull too, so that order holds. It returns after one fsync that may be shared with other callers. On success Row is set. If err is not nil nothing was stored.
	Append(ctx context.Context, mails []*Mail, limits MailboxLimits) (results []error, err error)
	// Read returns up to limit mails of a device with Row > after, oldest first, and at most maxBytes of ciphertext (at least one mail).
	Read(ctx context.Context, device key.DeviceID, after int64, limit, maxBytes int) ([]Mail, error)
	// Delete removes rows of devices; rows that are not that device's are ignored.
	Delete(ctx context.Context, rows map[key.DeviceID][]int64) error
	MailboxSize(ctx context.Context, device key.DeviceID) (envelopes int, bytes int64, err error)
	// TakeExpired removes up to limit mails that expired before now and returns them without ciphertext.
	TakeExpired(ctx context.Context, now time.Time, limit int) ([]Mail, error)
	// DropMail drops up to limit mails of a device that is gone, beyond those that went with it, and reports whether there may be more to drop.
	DropMail(ctx context.Context, now time.Time, limit int) (more bool, err error)
	// Noticed returns the devices that were left a notice in a row above after, and the highest such row (after if there is none); many notices come in several answers.
	Noticed(ctx context.Context, after int64) (devices []key.DeviceID, last int64, err error)
}

// ClockState is the server's time when it was saved (zero: never), and whether
// the wall clock had jumped and nobody had confirmed it.
type ClockState struct {
	At   time.Time
	Held bool
}

// Clocks keeps the server's time between starts.
type Clocks interface {
	ClockState(ctx context.Context) (ClockState, error)
	SetClockState(ctx context.Context, c ClockState) error
}

// Store is everything.
type Store interface {
	Accounts
	PrekeyStock
	ContactLists
	Fences
	Mailboxes
	Blobs
	Clocks
	// Ping verifies that a write can be made durable.
	Ping(ctx context.Context) error
	Close() error
}
