package local

import (
	"encoding/json"
	"time"
)

// Types of events.
const (
	TypeMessage = "message"
	TypeReceipt = "receipt"
	TypeCall    = "call"
	// TypeFile: a file came, with a message or by itself.
	TypeFile = "file"
	// TypeFileState: the state of a file has changed since.
	TypeFileState = "file_state"
	TypeIdentity  = "identity"
	TypePresence  = "presence"
	TypeSystem    = "system"
)

// Directions of an event.
const (
	DirectionIn  = "in"
	DirectionOut = "out"
)

// Time is an instant as it stands in JSON: RFC 3339 in UTC with milliseconds. The zero Time is null.
type Time struct{ time.Time }

// maxYear is the last year that RFC 3339 can write (section 5.6: four digits).
const maxYear = 9999

// MarshalJSON writes RFC 3339 in UTC with three decimals. An instant that RFC 3339
// cannot write becomes null, so that every reader takes what is written here.
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

// Event is the one shape of everything that happens, in listen, history and
// the RPC. The object under the type's name holds the details; readers ignore
// fields and types they do not know.
type Event struct {
	Seq       int64  `json:"seq"`
	ID        string `json:"id"`
	Type      string `json:"type"`
	Account   string `json:"account"`             // user@domain
	Peer      string `json:"peer,omitempty"`      // user@domain
	Device    string `json:"device,omitempty"`    // the peer's (or own) device id
	Direction string `json:"direction,omitempty"` // in or out
	Time      Time   `json:"time"`                // the sender's clock, for display only
	Received  Time   `json:"received"`            // this daemon's clock
	Trust     string `json:"trust,omitempty"`     // certified, verified, changed, blocked

	Message  *Message  `json:"message,omitempty"`
	Receipt  *Receipt  `json:"receipt,omitempty"`
	Identity *Identity `json:"identity,omitempty"`
	Presence *Presence `json:"presence,omitempty"`
	File     *File     `json:"file,omitempty"`
	// FileState is the file with its new state.
	FileState *File   `json:"file_state,omitempty"`
	Call      *Call   `json:"call,omitempty"`
	System    *System `json:"system,omitempty"`
}

// DecodeEvent reads one event. In the place of an event that cannot be read it
// returns a system event with what can be read of its seq, id and addresses, and
// the error: a reader shows that one and goes on with the next.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	err := json.Unmarshal(b, &e)
	if err == nil {
		return e, nil
	}
	return Unreadable(Event{Seq: e.Seq, ID: e.ID, Type: e.Type, Account: e.Account, Peer: e.Peer, Received: e.Received}), err
}

// Unreadable returns the system event that stands in the place of an event that
// cannot be read; e holds what is known of it.
func Unreadable(e Event) Event {
	e.System = &System{Text: "an event of type " + e.Type + " cannot be read and is not shown"}
	if e.Type == "" {
		e.System.Text = "an event cannot be read and is not shown"
	}
	e.Type, e.Time = TypeSystem, e.Received
	return e
}

// Message is the body of a message event. For an own message State is its delivery state.
type Message struct {
	Text    string  `json:"text"`
	ReplyTo *string `json:"reply_to"`
	State   string  `json:"state,omitempty"`
	// Request marks a stranger's first message: no receipt is sent until the contact is added.
	Request bool `json:"request,omitempty"`
	// Files are part of the message.
	Files []File `json:"files,omitempty"`
}

// Receipt is the body of a receipt event: an own message reached a state.
type Receipt struct {
	MessageID string `json:"message_id"`
	State     string `json:"state"`
	Error     *Error `json:"error,omitempty"`
}

// Changes named by an identity event.
const (
	ChangeKey           = "key"
	ChangeDeviceAdded   = "device_added"
	ChangeDeviceRemoved = "device_removed"
	ChangeMismatch      = "mismatch"
	ChangeCertificate   = "certificate"
	// ChangeSession: a device has begun a session although there is one that works.
	ChangeSession = "session"
	// ChangeClone: a device has given one number to two messages.
	ChangeClone = "clone"
	// ChangeWithheld: the server does not show a list of devices that messages name.
	ChangeWithheld = "withheld"
	// ChangeStale: the list of devices was not signed anew for 60 days.
	ChangeStale = "stale"
)

// Identity is the body of an identity event.
type Identity struct {
	Change      string `json:"change"`
	Fingerprint string `json:"fingerprint"`
	Previous    string `json:"previous,omitempty"`
	Text        string `json:"text,omitempty"`
}

// Presence is the body of a presence event.
type Presence struct {
	Online   bool `json:"online"`
	Mutual   bool `json:"mutual"`
	LastSeen Time `json:"last_seen"`
}

// System is the body of a system event: exactly one field is set, or Text alone.
type System struct {
	Text string `json:"text,omitempty"`
	Gap  *Gap   `json:"gap,omitempty"`
}

// Gap tells that messages of a peer's device, numbered From to To, have not arrived.
type Gap struct {
	Peer string `json:"peer"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Delivery states of an own message. The last four are final, except that a
// receipt, which is authenticated, makes any of them delivered or read.
const (
	StateQueued    = "queued"    // on this disk, not at the server yet
	StateHeld      = "held"      // waits for a decision about the peer's key, or for the peer's consent
	StateAccepted  = "accepted"  // the server has it
	StateDelivered = "delivered" // a device of the recipient has it
	StateRead      = "read"      // and it was shown there
	StateFailed    = "failed"    // it cannot be sent; the error says why
	StateExpired   = "expired"   // its own life ended first
	StateCancelled = "cancelled" // its sender withdrew it with outbox cancel
)

// Trust states of a peer.
const (
	TrustUnknown   = "unknown" // no pin yet
	TrustCertified = "certified"
	TrustVerified  = "verified"
	TrustChanged   = "changed"
	TrustBlocked   = "blocked"
)
