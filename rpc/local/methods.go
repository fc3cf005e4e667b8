package local

import (
	"encoding/json"
	"time"
)

// Names of the methods (noun.verb). Parameters are snake_case, named as the long flags of the commands.
const (
	MethodStatusGet   = "status.get"
	MethodStatusCheck = "status.check"
	MethodDaemonHello = "daemon.hello" // HelloParams; answers with Hello
	MethodDaemonStop  = "daemon.stop"  // StopParams

	MethodAccountJoin    = "account.join"
	MethodAccountList    = "account.list"
	MethodAccountShow    = "account.show"
	MethodAccountDefault = "account.default"
	MethodAccountRemove  = "account.remove"
	MethodProfileLock    = "profile.lock"
	MethodProfileUnlock  = "profile.unlock"

	MethodMessageSend    = "message.send"
	MethodMessageInbox   = "message.inbox"
	MethodMessageHistory = "message.history"
	MethodOutboxList     = "outbox.list"
	MethodOutboxRetry    = "outbox.retry"
	MethodOutboxCancel   = "outbox.cancel"
	MethodReceiptRead    = "receipt.read"

	MethodEventSubscribe = "event.subscribe"
	MethodEventAck       = "event.ack"
	MethodEventFail      = "event.fail"
	MethodConsumerList   = "consumer.list"
	MethodConsumerRemove = "consumer.remove"
	// NotifyEvent is the notification that carries one Event to a subscriber.
	NotifyEvent = "event"
	// NotifyLink is the notification that carries one Link to a subscriber who asked for it.
	NotifyLink = "event.link"

	MethodContactList    = "contact.list"
	MethodContactShow    = "contact.show"
	MethodContactAdd     = "contact.add"
	MethodContactNick    = "contact.nick"
	MethodContactRemove  = "contact.remove"
	MethodContactSet     = "contact.set"
	MethodContactBlock   = "contact.block"
	MethodContactUnblock = "contact.unblock"

	MethodIdentityVerify = "identity.verify"
	MethodIdentityTrust  = "identity.trust"
	MethodPresenceList   = "presence.list"
	MethodDeviceList     = "device.list"
)

// AccountParam names the account; empty means the only or the default one. It is part of most parameters.
type AccountParam struct {
	Account string `json:"account,omitempty"`
}

// PeerParams name a peer of an account: alice, alice@domain or a nickname.
type PeerParams struct {
	AccountParam
	Peer string `json:"peer"`
}

// StopParams are the parameters of daemon.stop.
type StopParams struct {
	// IfIdle refuses (code refused) to end a daemon that does something which does
	// not go on by itself after a restart.
	IfIdle bool `json:"if_idle,omitempty"`
}

// Status answers status.get.
type Status struct {
	PID      int             `json:"pid"`
	Version  string          `json:"version"`
	Replaced bool            `json:"replaced"` // its binary was replaced since it was started
	Locked   bool            `json:"locked"`
	Accounts []AccountStatus `json:"accounts"`
}

// AccountStatus is one account's line of a Status.
type AccountStatus struct {
	Name          string `json:"name"`    // user
	Address       string `json:"address"` // user@domain
	Device        string `json:"device"`
	Connected     bool   `json:"connected"` // both connections stand
	Replica       bool   `json:"replica"`
	Contact       bool   `json:"contact"`
	Outbox        int    `json:"outbox"` // not yet accepted
	Held          int    `json:"held"`
	Unread        int    `json:"unread"`
	LastReceived  Time   `json:"last_received"`
	Error         *Error `json:"error,omitempty"` // why it is not connected
	ClockOffsetMS int64  `json:"clock_offset_ms"` // this machine's clock minus the server's
}

// CheckResult answers status.check for one account: a probe went to the server and back.
type CheckResult struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	RoundMS float64 `json:"round_trip_ms"`
	Error   *Error  `json:"error,omitempty"`
}

// JoinParams are the parameters of account.join. Passphrase is set only when the profile is new and protected.
type JoinParams struct {
	Invite     string `json:"invite"`
	Name       string `json:"name"`
	DeviceName string `json:"device_name,omitempty"`
	Passphrase string `json:"passphrase,omitempty"`
}

// Account describes an own account.
type Account struct {
	Name               string `json:"name"`
	Address            string `json:"address"`
	Default            bool   `json:"default"`
	Device             string `json:"device"`
	DeviceName         string `json:"device_name"`
	Fingerprint        string `json:"fingerprint"` // of the account identity key
	Realm              string `json:"realm"`       // fingerprint of the realm's root certificate
	Server             string `json:"server"`      // host:port
	CertificateExpires Time   `json:"certificate_expires"`
}

// AccountNameParams name one account by its name or address.
type AccountNameParams struct {
	Name string `json:"name"`
}

// UnlockParams are the parameters of profile.unlock.
type UnlockParams struct {
	Passphrase string `json:"passphrase"`
}

// SendParams are the parameters of message.send. One id is made for each peer.
type SendParams struct {
	AccountParam
	Peers          []string `json:"peers"`
	Text           string   `json:"text"`
	ReplyTo        string   `json:"reply_to,omitempty"`
	Wait           string   `json:"wait,omitempty"`    // queued, server, delivered, read; empty: up to 5 s for the server
	Timeout        float64  `json:"timeout,omitempty"` // seconds; with wait
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Expires        float64  `json:"expires,omitempty"` // seconds; 0: none
	Require        string   `json:"require,omitempty"` // verified
}

// SendResult is one recipient's result.
type SendResult struct {
	ID    string `json:"id"`
	Peer  string `json:"peer"`
	State string `json:"state"`
	Time  Time   `json:"time"`
	// File is set by file.send for a file that is a message of its own.
	File  *FileInfo `json:"file,omitempty"`
	Error *Error    `json:"error,omitempty"`
	// Waiting is why a queued message is not at the server yet. It is sent when
	// that is over.
	Waiting *Error `json:"waiting,omitempty"`
	// Changed is set by the verbs that change a message: false if what was asked
	// for held already.
	Changed *bool `json:"changed,omitempty"`
}

// SendResults answers message.send and outbox.list.
type SendResults struct {
	Results []SendResult `json:"results"`
}

// OutboxParams name an own message of the outbox.
type OutboxParams struct {
	AccountParam
	ID string `json:"id"`
}

// ReadParams are the parameters of receipt.read: the messages of a peer up to
// and including ID, or all of them, are marked as read.
type ReadParams struct {
	PeerParams
	ID string `json:"id,omitempty"`
}

// ReadResult answers receipt.read.
type ReadResult struct {
	Read int `json:"read"` // messages that were unread
}

// InboxParams are the parameters of message.inbox; it answers with Events.
type InboxParams struct {
	AccountParam
	From  []string `json:"from,omitempty"`
	Peek  bool     `json:"peek,omitempty"`
	Limit int      `json:"limit,omitempty"` // 0: 1000
}

// HistoryParams are the parameters of message.history; it answers with Events, oldest first.
type HistoryParams struct {
	AccountParam
	Peer   string `json:"peer"`
	Limit  int    `json:"limit,omitempty"` // 0: 50
	Since  string `json:"since,omitempty"` // RFC 3339
	Before string `json:"before,omitempty"`
}

// Events is a list of events.
type Events struct {
	Events []Event `json:"events"`
	// Offline is set by message.inbox if more mail may wait at the server, which
	// could not be asked: why.
	Offline *Error `json:"offline,omitempty"`
	// Held is set by message.inbox: messages that came under a changed key and
	// are not shown before it is accepted.
	Held []HeldMail `json:"held,omitempty"`
}

// HeldMail counts messages of a peer that are not shown.
type HeldMail struct {
	Peer  string `json:"peer"`
	Count int    `json:"count"`
}

// UnmarshalJSON reads a list; in the place of an event that cannot be read stands
// the one of DecodeEvent.
func (l *Events) UnmarshalJSON(b []byte) error {
	type others Events // all fields, without this method
	var raw struct {
		others
		Events []json.RawMessage `json:"events"` // hides the field of others
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*l = Events(raw.others)
	l.Events = make([]Event, len(raw.Events))
	for i := range raw.Events {
		l.Events[i], _ = DecodeEvent(raw.Events[i])
	}
	return nil
}

// SubscribeParams are the parameters of event.subscribe.
type SubscribeParams struct {
	AccountParam          // empty: all accounts
	From         []string `json:"from,omitempty"`
	Types        []string `json:"type,omitempty"` // empty: message, call, file, identity; others must be asked for
	Outgoing     bool     `json:"outgoing,omitempty"`
	Consumer     string   `json:"consumer,omitempty"`
	// Since: "" from now on; a bare number is a seq (0: the oldest kept); else an event id or a time.
	Since string `json:"since,omitempty"`
	// Window is how many events may be unacknowledged before the daemon stops pushing; 0: 256.
	// Only consumers acknowledge; without a consumer the daemon relies on the socket's flow control.
	Window int `json:"window,omitempty"`
	// Retry and DeadLetterAfter (seconds; 0: not said) bound how often, and for how
	// long, an event that the consumer's handler fails on is tried again. They stay
	// with the consumer until a subscription says otherwise.
	Retry           *int    `json:"retry,omitempty"`
	DeadLetterAfter float64 `json:"dead_letter_after,omitempty"`
	// Links asks for a notification when the connection to a server on which
	// events come is lost, and when it is back; one that is away at the start is told, too.
	Links bool `json:"links,omitempty"`
}

// Link tells whether events of an account can come from its server.
type Link struct {
	Account   string `json:"account"` // user@domain
	Connected bool   `json:"connected"`
	Error     *Error `json:"error,omitempty"` // why not
}

// Subscribed answers event.subscribe; event notifications with a greater seq follow.
type Subscribed struct {
	// Cursor: events after this seq will be pushed.
	Cursor int64 `json:"cursor"`
	// Newest is the seq of the newest event at the moment of subscription.
	Newest int64 `json:"newest"`
}

// AckParams are the parameters of event.ack: cumulative, a seq or an event id.
type AckParams struct {
	Consumer string `json:"consumer"`
	ID       string `json:"id"`
}

// FailParams are the parameters of event.fail: a consumer's handler failed on
// an event, named by its seq or id. What was pushed before it must be
// acknowledged.
type FailParams struct {
	Consumer string `json:"consumer"`
	ID       string `json:"id"`
}

// Failed answers event.fail. The count of attempts is durable.
type Failed struct {
	Attempts int `json:"attempts"`
	// Dead: the consumer's bound of attempts or of time is reached. The event is a dead letter now,
	// and the cursor has passed it.
	Dead bool `json:"dead"`
	// RetryAfter is in seconds; 0 when dead.
	RetryAfter float64 `json:"retry_after"`
}

// DeadLetter is an event that a consumer's handler never took.
type DeadLetter struct {
	Seq      int64  `json:"seq"`
	ID       string `json:"id,omitempty"` // empty once retention has ended the event
	Attempts int    `json:"attempts"`
	Time     Time   `json:"time"` // of the last attempt
}

// Consumer describes a named consumer.
type Consumer struct {
	Name     string `json:"name"`
	Cursor   int64  `json:"cursor"`
	Lag      int64  `json:"lag"` // events behind the newest
	Attached bool   `json:"attached"`
	Created  Time   `json:"created"`
	Acked    Time   `json:"acked"`
	// Missed counts events that retention ended before this consumer had them.
	Missed int64 `json:"missed"`
	// Dead are the newest dead letters, oldest first, at most 100.
	Dead []DeadLetter `json:"dead"`
	// DeadLetters counts all that there ever were.
	DeadLetters int64 `json:"dead_letters"`
	// Retry and DeadLetterAfter (in seconds) are as in SubscribeParams.
	Retry           int     `json:"retry"`
	DeadLetterAfter float64 `json:"dead_letter_after"`
}

// Defaults for a handler that fails: with the pauses between attempts, which
// double from one second to five minutes, the time ends first.
const (
	DefaultRetry           = 29
	DefaultDeadLetterAfter = time.Hour
)

// Consumers answers consumer.list.
type Consumers struct {
	// Oldest and Newest are the seqs of the events that are kept; 0: none.
	Oldest    int64      `json:"oldest"`
	Newest    int64      `json:"newest"`
	Consumers []Consumer `json:"consumers"`
}

// ConsumerParams name a consumer.
type ConsumerParams struct {
	Name string `json:"name"`
}

// Contact describes a peer.
type Contact struct {
	Peer               string            `json:"peer"`
	Nick               string            `json:"nick,omitempty"`
	Contact            bool              `json:"contact"` // on my contact list
	Request            bool              `json:"request"` // wrote first and waits for contact add
	Trust              string            `json:"trust"`
	Fingerprint        string            `json:"fingerprint,omitempty"`
	Changed            string            `json:"changed,omitempty"` // fingerprint of the key that waits for a decision
	Held               int               `json:"held"`
	Policy             map[string]string `json:"policy,omitempty"`
	Devices            []Device          `json:"devices,omitempty"`
	CertificateExpires Time              `json:"certificate_expires"`
}

// Device describes one device of a peer or of the own account.
type Device struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Added   Time   `json:"added"`
	This    bool   `json:"this,omitempty"`
	Primary bool   `json:"primary,omitempty"`
}

// Contacts answers contact.list.
type Contacts struct {
	Contacts []Contact `json:"contacts"`
}

// ContactNickParams are the parameters of contact.nick; an empty name removes it.
type ContactNickParams struct {
	PeerParams
	Name string `json:"name"`
}

// ContactSetParams are the parameters of contact.set.
type ContactSetParams struct {
	PeerParams
	Key   string `json:"key"`
	Value string `json:"value"`
}

// VerifyParams are the parameters of identity.verify.
type VerifyParams struct {
	PeerParams
	Expect  string `json:"expect,omitempty"`
	Confirm bool   `json:"confirm,omitempty"`
}

// Verification answers identity.verify.
type Verification struct {
	Peer         string `json:"peer"`
	Trust        string `json:"trust"`
	SafetyNumber string `json:"safety_number"` // 60 digits
	Fingerprint  string `json:"fingerprint"`
	// QR is what the QR code of this side carries: secmsg://DOMAIN/verify#USER.DIGITS
	// with the own user and the safety number.
	QR string `json:"qr,omitempty"`
}

// TrustParams are the parameters of identity.trust: exactly one of Key and Discard.
type TrustParams struct {
	PeerParams
	Key     string `json:"key,omitempty"`
	Discard bool   `json:"discard,omitempty"`
}

// PresenceParams are the parameters of presence.list.
type PresenceParams struct {
	AccountParam
	Peers []string `json:"peers,omitempty"`
}

// PresenceEntry is one line of presence.list.
type PresenceEntry struct {
	Peer string `json:"peer"`
	// Online and Mutual are absent while they are not known, as they are without a
	// connection.
	Online *bool `json:"online,omitempty"`
	Mutual *bool `json:"mutual,omitempty"`
	// LastSeen is what the server told last; this side's connections play no part.
	LastSeen Time `json:"last_seen"`
}

// PresenceList answers presence.list.
type PresenceList struct {
	Presence []PresenceEntry `json:"presence"`
	// Offline is why the server could not be asked.
	Offline *Error `json:"offline,omitempty"`
}

// Devices answers device.list.
type Devices struct {
	Devices []Device `json:"devices"`
}

// Empty is the result of methods that answer nothing.
type Empty struct{}
