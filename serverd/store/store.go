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
	// Notice rows (class notice)
	NoticeReason    uint8
	NoticeRecipient string
	NoticeDevice    key.DeviceID
}

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
	Register(ctx context.Context, r Registration) (Account, error)
	Account(ctx context.Context, name string) (Account, error)
	ListAccounts(ctx context.Context, after string, limit int) ([]Account, error)
	SetSuspended(ctx context.Context, name string, suspended bool) error
	SetChain(ctx context.Context, name string, chain [][]byte) error
	DeleteAccount(ctx context.Context, name string) error

	// PutManifest stores m if the newest manifest has hash previous; devices that m drops are revoked and their mailboxes, fences and prekeys deleted. Else ErrConflict.
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
	PutPrekeys(ctx context.Context, device key.DeviceID, p Prekeys, maxOneTime int) error
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
	IssueFence(ctx context.Context, device key.DeviceID, issued []byte, steps uint64) error
	ConfirmFence(ctx context.Context, device key.DeviceID) error
	RaiseSteps(ctx context.Context, steps map[key.DeviceID]uint64) error // keeps the higher
}

// Mailboxes holds undelivered envelopes.
type Mailboxes interface {
	// Append stores mails in order; results[i] is nil, ErrFull or ErrNotFound (no such device) for mails[i]. It returns after one fsync that may be shared with other callers. On success Row is set.
	Append(ctx context.Context, mails []*Mail, limits MailboxLimits) (results []error, err error)
	// Read returns up to limit mails of a device with Row > after, oldest first, and at most maxBytes of ciphertext (at least one mail).
	Read(ctx context.Context, device key.DeviceID, after int64, limit, maxBytes int) ([]Mail, error)
	// Delete removes rows of a device; rows that are not that device's are ignored.
	Delete(ctx context.Context, device key.DeviceID, rows []int64) error
	MailboxSize(ctx context.Context, device key.DeviceID) (envelopes int, bytes int64, err error)
	// TakeExpired removes up to limit mails that expired before now and returns them.
	TakeExpired(ctx context.Context, now time.Time, limit int) ([]Mail, error)
}

// Store is everything.
type Store interface {
	Accounts
	PrekeyStock
	ContactLists
	Fences
	Mailboxes
	// Ping verifies that a write can be made durable.
	Ping(ctx context.Context) error
	Close() error
}
