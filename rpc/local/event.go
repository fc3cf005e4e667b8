package local

import (
	"encoding/json"
	"time"
)

// Types of events. The details are in the member of the event that is named as the type.
const (
	TypeMessage   = "message"    // a message came, or was sent by a device of the own account
	TypeReceipt   = "receipt"    // the delivery state of an own message has changed
	TypeCall      = "call"       // a call rings or has ended
	TypeFile      = "file"       // a file came, with a message or by itself; or an own file was sent
	TypeFileState = "file_state" // the state of a file has changed since its file event
	TypeIdentity  = "identity"   // a peer's keys or devices changed, or contradict the pinned ones
	TypePresence  = "presence"   // a mutual contact came online or left
	TypeSystem    = "system"     // a note of the daemon, for example about messages that are missing
)

// Directions of an event.
const (
	DirectionIn  = "in"  // from a peer
	DirectionOut = "out" // from the own account, also from another device of it
)

// Time is an instant in JSON: RFC 3339 in UTC with milliseconds. The zero Time is null.
type Time struct{ time.Time }

// maxYear is the last year that RFC 3339 can represent (section 5.6: four digits).
const maxYear = 9999

// MarshalJSON writes RFC 3339 in UTC with three decimals. An instant that RFC 3339
// cannot express becomes null, so that every reader accepts the result.
func (t Time) MarshalJSON() ([]byte, error) {
	utc := t.UTC()
	if t.IsZero() || utc.Year() < 0 || utc.Year() > maxYear {
		return []byte("null"), nil
	}
	return []byte(`"` + utc.Format("2006-01-02T15:04:05.000Z") + `"`), nil
}

// UnmarshalJSON reads RFC 3339 or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		t.Time = time.Time{}
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

// Event is the one shape of everything that happens, in listen, in history and on
// the socket. Readers ignore members and types that they do not know.
type Event struct {
	Seq       int64  `json:"seq"`                 // position in the journal, growing; 0 outside of it
	ID        string `json:"id"`                  // id of the event; for a message, the id of the message
	Type      string `json:"type"`                // type of the event
	Account   string `json:"account"`             // the own account, user@domain
	Peer      string `json:"peer,omitempty"`      // the other side, user@domain
	Device    string `json:"device,omitempty"`    // id of the device that it came from
	Direction string `json:"direction,omitempty"` // "in" or "out"
	Time      Time   `json:"time"`                // by the sender's clock, for display only
	Received  Time   `json:"received"`            // by this daemon's clock
	Trust     string `json:"trust,omitempty"`     // trust state of the peer when the event came

	Message   *Message  `json:"message,omitempty"`    // details of type message
	Receipt   *Receipt  `json:"receipt,omitempty"`    // details of type receipt
	Identity  *Identity `json:"identity,omitempty"`   // details of type identity
	Presence  *Presence `json:"presence,omitempty"`   // details of type presence
	File      *File     `json:"file,omitempty"`       // details of type file
	FileState *File     `json:"file_state,omitempty"` // details of type file_state: the file with its new state
	Call      *Call     `json:"call,omitempty"`       // details of type call
	System    *System   `json:"system,omitempty"`     // details of type system
}

// DecodeEvent reads one event. If it cannot be read, it returns the error and, to
// be shown in its place, a system event with the seq, id and addresses that could be read;
// the reader goes on with the next event.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	err := json.Unmarshal(b, &e)
	if err == nil {
		return e, nil
	}
	return Unreadable(Event{Seq: e.Seq, ID: e.ID, Type: e.Type, Account: e.Account, Peer: e.Peer, Received: e.Received}), err
}

// Unreadable returns the system event that replaces an event that cannot be
// read; e holds its known members.
func Unreadable(e Event) Event {
	e.System = &System{Text: "an event of type " + e.Type + " cannot be read and is not shown"}
	if e.Type == "" {
		e.System.Text = "an event cannot be read and is not shown"
	}
	e.Type, e.Time = TypeSystem, e.Received
	return e
}

// Message is the details of a message event.
type Message struct {
	Text    string  `json:"text"`              // UTF-8, as the peer wrote it: make control characters visible before a terminal sees them
	ReplyTo *string `json:"reply_to"`          // id of the message that it answers, or null
	State   string  `json:"state,omitempty"`   // of an own message: its delivery state when the event was made
	Request bool    `json:"request,omitempty"` // first message of a stranger; it gets no receipt before contact.add
	Files   []File  `json:"files,omitempty"`   // files that are part of the message
}

// Receipt is the details of a receipt event.
type Receipt struct {
	MessageID string `json:"message_id"`      // id of the own message
	State     string `json:"state"`           // the delivery state that it reached
	Error     *Error `json:"error,omitempty"` // why it is held, has failed or has expired
}

// Changes that an identity event names.
const (
	ChangeKey           = "key"            // another identity key was certified for the peer; messages are held
	ChangeDeviceAdded   = "device_added"   // a device was added to the peer's device list
	ChangeDeviceRemoved = "device_removed" // a device was removed from the peer's device list
	ChangeMismatch      = "mismatch"       // a device list has no valid signature, or a safety number differs
	ChangeCertificate   = "certificate"    // the peer's certificate has expired and was not renewed
	ChangeSession       = "session"        // a device began a new session although the present one works
	ChangeClone         = "clone"          // a device gave one number to two messages: a copy of it may be in use
	ChangeWithheld      = "withheld"       // the server does not show a device list that messages of the peer name
	ChangeStale         = "stale"          // the device list has not been signed again for 60 days
)

// Identity is the details of an identity event.
type Identity struct {
	Change      string `json:"change"`             // what changed
	Fingerprint string `json:"fingerprint"`        // fingerprint of the key that it is about
	Previous    string `json:"previous,omitempty"` // fingerprint of the key before the change
	Text        string `json:"text,omitempty"`     // details for the user
}

// Presence is the details of a presence event.
type Presence struct {
	Online   bool `json:"online"`    // a device of the peer is connected
	Mutual   bool `json:"mutual"`    // both sides have each other as contact
	LastSeen Time `json:"last_seen"` // the last time at which the server reported the peer online
}

// System is the details of a system event: a text, or one of the other members.
type System struct {
	Text string `json:"text,omitempty"` // for the user
	Gap  *Gap   `json:"gap,omitempty"`  // messages are missing
}

// Gap says that messages of one device of a peer have not arrived. Each device
// numbers its messages.
type Gap struct {
	Peer string `json:"peer"` // user@domain
	From uint64 `json:"from"` // number of the first missing message
	To   uint64 `json:"to"`   // number of the last missing message
}

// Delivery states of an own message. failed, expired and cancelled are final,
// except that a receipt, which is authenticated, still makes a message delivered or read.
const (
	StateQueued    = "queued"    // stored on this disk, not accepted by the server yet
	StateHeld      = "held"      // waits for a decision about the peer's key, or for the peer's consent
	StateAccepted  = "accepted"  // stored by the server, or by a device of the recipient
	StateDelivered = "delivered" // a device of the recipient has stored it
	StateRead      = "read"      // it was shown to the recipient
	StateFailed    = "failed"    // it cannot be delivered; the error says why
	StateExpired   = "expired"   // its life ended before it was delivered
	StateCancelled = "cancelled" // withdrawn before it was sent
)

// Trust states of a peer.
const (
	TrustUnknown   = "unknown"   // no key is pinned yet
	TrustCertified = "certified" // certified by the realm and pinned
	TrustVerified  = "verified"  // compared by a person, or with a number that a script knew
	TrustChanged   = "changed"   // another key appeared; messages are held until identity.trust
	TrustBlocked   = "blocked"   // nothing is taken from the peer
)
