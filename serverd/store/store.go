// Package store is the server's database: accounts, manifests, prekeys, contacts, fences and mailboxes.
// This file holds the interfaces, the other files one backend, and one conformance suite runs on every
// backend. A method that changes something returns only after the change is durable. All methods are
// safe for concurrent use. A Store lives until Close.
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
	// ErrCorrupt means that SQLite found the database damaged; such an error is also ErrDisk.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrTooNew is returned by Open if a newer version has written the database, which is left
	// unchanged.
	ErrTooNew = errors.New("database was written by a newer version")
)

// Invite is a right to register accounts.
type Invite struct {
	ID        string // public id for list and revoke, not the token
	TokenHash [32]byte
	Uses      int // number of registrations it allows
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

// Revocation records that a device may no longer connect. Row numbers grow.
type Revocation struct {
	Row     int64
	Account string
	Device  key.DeviceID
}

// Registration is everything that one registration writes, in one transaction.
type Registration struct {
	TokenHash [32]byte
	Name      string
	Identity  []byte
	Chain     [][]byte
	Manifest  Manifest
	Now       time.Time
}

// Prekey is a stored signed prekey. Public is its full signed encoding.
type Prekey struct {
	ID      uint32
	Public  []byte
	Expires time.Time
}

// Prekeys is an upload. A nil signed or last-resort key keeps the stored one.
type Prekeys struct {
	Signed          *Prekey
	LastResort      *Prekey
	OneTimeExchange []Prekey
	OneTimeKEM      []Prekey
}

// KeptPrekeys are the ids of an upload's one-time keys that the store has, in the order of the upload.
type KeptPrekeys struct{ OneTimeExchange, OneTimeKEM []uint32 }

// Bundle is one device's prekeys as handed to one requester. Its one-time keys are used up.
type Bundle struct {
	Device          key.DeviceID
	Signed          *Prekey
	KEM             *Prekey // a one-time key if there was one, else the last-resort key
	OneTimeExchange *Prekey // nil if there was none
}

// PrekeyCount is a device's stock.
type PrekeyCount struct {
	SignedExpires, LastResortExpires time.Time // zero for none
	OneTimeExchange, OneTimeKEM      int
}

// Relation is an account's relation to another.
type Relation string

// The relations. They equal those of the REST API.
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
	// Request marks a stranger's request. A device accepts only one envelope per message id, ever; a
	// retry is answered as stored, with Row 0.
	Request bool
	// Notice rows (class notice)
	NoticeReason    uint8
	NoticeRecipient string
	NoticeDevice    key.DeviceID
}

// Numbers of rpc/wire that the store writes itself. A test of the relay checks that they are equal,
// since this package does not import the wire format.
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
	// Invite returns the invite with that token hash, even a used one (the caller checks its fields),
	// or ErrInvite.
	Invite(ctx context.Context, tokenHash [32]byte) (Invite, error)

	// Register consumes one use of the invite and creates account, device and manifest. Repeating it
	// with the same token, name, identity and manifest returns the existing account. It returns
	// ErrInvite, ErrNameTaken (the invite is not used up) or ErrConflict (a device id is in use).
	Register(ctx context.Context, r Registration) (Account, error)
	Account(ctx context.Context, name string) (Account, error)
	ListAccounts(ctx context.Context, after string, limit int) ([]Account, error)
	SetSuspended(ctx context.Context, name string, suspended bool) error
	SetChain(ctx context.Context, name string, chain [][]byte) error
	DeleteAccount(ctx context.Context, name string) error

	// PutManifest stores m if the newest manifest has hash previous. Devices that m drops are revoked,
	// and their mailboxes, fences and prekeys deleted. It returns ErrConflict for another hash, for a
	// version that does not grow, and for a device id that is revoked or belongs to another account.
	// Repeating the newest manifest is no error.
	PutManifest(ctx context.Context, name string, previous [32]byte, m Manifest, now time.Time) error
	Manifests(ctx context.Context, name string, after uint64, limit int) ([]Manifest, error)
	Device(ctx context.Context, id key.DeviceID) (Device, error)
	Devices(ctx context.Context, account string) ([]Device, error)
	SetLastSeen(ctx context.Context, seen map[key.DeviceID]time.Time) error
	// Revocations lists revocations with Row > after, oldest first.
	Revocations(ctx context.Context, after int64) ([]Revocation, error)
}

// PrekeyStock holds prekeys. A one-time key is handed out only once, also under concurrency.
type PrekeyStock interface {
	// PutPrekeys stores an upload. It leaves out one-time keys beyond maxOneTime of a kind, and ids
	// that the device has uploaded before, used or not; keys that expired by now make room. It returns
	// which of the upload's one-time keys are in the store, whether from this upload or an earlier
	// identical one. It returns ErrNotFound for an unknown or revoked device.
	PutPrekeys(ctx context.Context, device key.DeviceID, p Prekeys, maxOneTime int, now time.Time) (KeptPrekeys, error)
	// TakeBundles leaves out devices without a valid signed prekey or KEM key.
	TakeBundles(ctx context.Context, devices []key.DeviceID, now time.Time) ([]Bundle, error)
	CountPrekeys(ctx context.Context, device key.DeviceID, now time.Time) (PrekeyCount, error)
}

// ContactLists holds each account's contacts and blocks.
type ContactLists interface {
	SetRelation(ctx context.Context, owner, peer string, r Relation) error // RelationNone removes
	Relations(ctx context.Context, owner string) (map[string]Relation, error)
	Relation(ctx context.Context, owner, peer string) (Relation, error)
	// AddRequest records the message id of a stranger's request. It reports whether the sender may send
	// this message: it is the first one, or the same id again.
	AddRequest(ctx context.Context, from, to string, messageID [16]byte) (bool, error)
}

// Fences holds each device's fence.
type Fences interface {
	Fence(ctx context.Context, device key.DeviceID) (Fence, error) // zero Fence when there is none
	// IssueFence stores issued together with the confirmed value and raises steps.
	IssueFence(ctx context.Context, device key.DeviceID, issued []byte, steps uint64) error
	// ConfirmFence makes the issued value the confirmed one, or returns ErrNotFound if none is issued.
	ConfirmFence(ctx context.Context, device key.DeviceID) error
	RaiseSteps(ctx context.Context, steps map[key.DeviceID]uint64) error // keeps the higher count
}

// Mailboxes holds undelivered envelopes. When an envelope expires, or is dropped because its device is
// gone, the same transaction leaves a notice for the sender's device. Notices are not subject to the
// mailbox limits: the envelopes that caused them were.
type Mailboxes interface {
	// Append stores mails in order; results[i] is nil, ErrFull or ErrNotFound (no such device) for
	// mails[i]. After an ErrFull all later mails of the call for that device are ErrFull too, which
	// keeps their order. It returns after one fsync, which other callers may share. On success Row is
	// set. If err is not nil, nothing was stored.
	Append(ctx context.Context, mails []*Mail, limits MailboxLimits) (results []error, err error)
	// Read returns up to limit mails of a device with Row > after, oldest first, with at most maxBytes
	// of ciphertext (but at least one mail).
	Read(ctx context.Context, device key.DeviceID, after int64, limit, maxBytes int) ([]Mail, error)
	// Delete removes rows of devices. It ignores rows of other devices.
	Delete(ctx context.Context, rows map[key.DeviceID][]int64) error
	MailboxSize(ctx context.Context, device key.DeviceID) (envelopes int, bytes int64, err error)
	// TakeExpired removes up to limit mails that expired before now and returns them without
	// ciphertext.
	TakeExpired(ctx context.Context, now time.Time, limit int) ([]Mail, error)
	// DropMail removes up to limit mails of a removed device that were not deleted together with it,
	// and reports whether there may be more.
	DropMail(ctx context.Context, now time.Time, limit int) (more bool, err error)
	// Noticed returns the devices that received a notice in a row above after, and the highest such row
	// (after if there is none). Many notices take several calls.
	Noticed(ctx context.Context, after int64) (devices []key.DeviceID, last int64, err error)
}

// ClockState is the server's time when it was saved (zero: never), and whether the wall clock had
// jumped and was unconfirmed.
type ClockState struct {
	At   time.Time
	Held bool
}

// Clocks stores the server's time between starts.
type Clocks interface {
	ClockState(ctx context.Context) (ClockState, error)
	SetClockState(ctx context.Context, c ClockState) error
}

// Store is the union of all parts.
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
