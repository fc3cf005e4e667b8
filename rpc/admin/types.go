package admin

import (
	"encoding/json"
	"fmt"
	"time"
)

// SocketName is the file name of the admin socket in the server's directory.
const SocketName = "admin.sock"

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// Time is an instant in JSON: RFC 3339 in UTC with milliseconds; the zero time is null.
type Time struct{ time.Time }

// MarshalJSON writes the time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

// UnmarshalJSON reads the time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		t.Time = time.Time{}
		return nil
	}
	if err := t.Time.UnmarshalJSON(b); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// String returns the time as in JSON, or "-" for the zero time.
func (t Time) String() string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(timeLayout)
}

// Code is a stable error code of the admin socket.
type Code string

// The codes.
const (
	CodeMalformed Code = "malformed"
	CodeNotFound  Code = "not_found"
	CodeConflict  Code = "conflict"
	CodeDisk      Code = "disk_full" // the store cannot write
	CodeInternal  Code = "internal"
)

// Error is the body of a failed call: {"error":{...}}.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error returns the text.
func (e *Error) Error() string { return e.Message }

// ErrorBody is the body of a failed response.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// CreateInvite is the body of POST /invites.
type CreateInvite struct {
	Uses    int   `json:"uses"`     // number of accounts, 1 to 10,000
	LifeSec int64 `json:"life_sec"` // seconds until it expires, at most a year
}

// CreatedInvite answers POST /invites. The invite itself is shown only here.
type CreatedInvite struct {
	ID      string `json:"id"`
	Invite  string `json:"invite"`
	Uses    int    `json:"uses"`
	Expires Time   `json:"expires"`
}

// InviteState says whether an invite still works.
type InviteState string

// The states of an invite.
const (
	InviteOpen    InviteState = "open"
	InviteUsed    InviteState = "used"
	InviteExpired InviteState = "expired"
	InviteRevoked InviteState = "revoked"
)

// Invite is a row of GET /invites.
type Invite struct {
	ID      string      `json:"id"`
	State   InviteState `json:"state"`
	Uses    int         `json:"uses"`
	Used    int         `json:"used"`
	Created Time        `json:"created"`
	Expires Time        `json:"expires"`
}

// Invites answers GET /invites.
type Invites struct {
	Invites []Invite `json:"invites"`
}

// User is an account as an administrator sees it.
type User struct {
	Name        string `json:"name"`
	Address     string `json:"address"`
	Fingerprint string `json:"fingerprint"` // SHA-256 of the identity key, hexadecimal
	Created     Time   `json:"created"`
	Suspended   bool   `json:"suspended"`
	Manifest    uint64 `json:"manifest_version"`
	// Certificate is the end of the account certificate's validity.
	Certificate Time `json:"certificate_expires"`
	// Devices are the active ones; only in GET /users/{name}.
	Devices []Device `json:"devices,omitempty"`
	// Quota is the quota and usage of the account's files; only in GET /users/{name}.
	Quota *Quota `json:"quota,omitempty"`
}

// Users answers GET /users?after=NAME: one page of users, sorted by name. Next is empty on the last
// page.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"`
}

// Device is a device of an account.
type Device struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Added    Time   `json:"added"`
	LastSeen Time   `json:"last_seen"` // the current time for a connected device
	// Connected reports whether the device is connected now.
	Connected bool `json:"connected"`
	Revoked   bool `json:"revoked"`
	// The mailbox: envelopes waiting for the device.
	MailboxEnvelopes int   `json:"mailbox_envelopes"`
	MailboxBytes     int64 `json:"mailbox_bytes"`
}

// Devices answers GET /users/{name}/devices.
type Devices struct {
	Devices []Device `json:"devices"`
}

// Check is one part of the server's health.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

// ConfirmedClock answers POST /clock/confirm: the server's time, and by how many seconds it moved.
type ConfirmedClock struct {
	Time     Time  `json:"time"`
	MovedSec int64 `json:"moved_sec"`
}

// TraceStep is one envelope passing one station of the relay. A message is one envelope for each device of the
// recipient, and for each other device of the sender.
type TraceStep struct {
	Time Time `json:"time"`
	// Message is the message's id, as the sender's `send` printed it.
	Message string `json:"message"`
	// State is the station: received, refused, stored, sent, acknowledged or expired.
	State string `json:"state"`
	// Account and SenderDevice sent the envelope, Peer and Device are to receive it.
	Account      string `json:"account"`
	SenderDevice string `json:"sender_device"`
	Peer         string `json:"peer"`
	Device       string `json:"device"`
	Class        string `json:"class"`            // durable, online, probe or notice
	Reason       string `json:"reason,omitempty"` // of refused
}

// Trace answers GET /messages/{id}/trace, oldest step first.
type Trace struct {
	Steps []TraceStep `json:"steps"`
}

// Stats answers GET /stats.
type Stats struct {
	Time    Time  `json:"time"`
	Uptime  int64 `json:"uptime_sec"`
	Healthy bool  `json:"healthy"`
	// Checks are the health details.
	Checks []Check `json:"checks"`
	// Warnings are messages for the administrator.
	Warnings []string `json:"warnings"`
	// Counters are by group and name; they start at 0 with the process.
	Counters map[string]map[string]int64 `json:"counters"`
}
