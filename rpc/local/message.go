package local

import "encoding/json"

// SendParams are the parameters of message.send.
type SendParams struct {
	AccountParam
	// Peers are the recipients, at least one. Each gets a message with an id of its own.
	Peers []string `json:"peers"`
	// Text is the message: UTF-8, 1 to 65536 bytes.
	Text string `json:"text"`
	// ReplyTo is the id of the message that this one answers.
	ReplyTo string `json:"reply_to,omitempty"`
	// Wait is the state to wait for: queued, server, delivered or read.
	// Without it the answer waits up to five seconds for the server, and it is no
	// error if the message is still queued then. A wait also ends when the message is held,
	// has failed or has expired.
	Wait string `json:"wait,omitempty"`
	// Timeout bounds the wait, in seconds; without it a wait for a state takes at most
	// 30. The message stays queued after it, and its result has an error with the code timeout.
	Timeout float64 `json:"timeout,omitempty"`
	// IdempotencyKey makes repeating the request harmless: for 30 days a request
	// with the same key and content queues nothing and returns the first ids with
	// their present states. It belongs to the account and has at most 256 bytes.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Expires is the life of the message in seconds; it expires if it is not delivered by then.
	Expires float64 `json:"expires,omitempty"`
	// Require is "verified" to send nothing unless every recipient is verified.
	Require string `json:"require,omitempty"`
}

// SendResult is the result for one recipient.
type SendResult struct {
	ID    string `json:"id"`    // id of the message
	Peer  string `json:"peer"`  // the recipient, user@domain
	State string `json:"state"` // delivery state of the message
	Time  Time   `json:"time"`  // when the message reached that state
	// File is set by file.send for a file that is a message of its own.
	File *FileInfo `json:"file,omitempty"`
	// Error says why the message is held, has failed or has expired, or that the wait timed out.
	Error *Error `json:"error,omitempty"`
	// Waiting says why a queued message is not at the server yet. It is sent
	// without further action once the reason is gone.
	Waiting *Error `json:"waiting,omitempty"`
	// Changed is set by methods that change a message: false if the message was already as requested.
	Changed *bool `json:"changed,omitempty"`
}

// SendResults answers message.send, file.send and outbox.list.
type SendResults struct {
	Results []SendResult `json:"results"` // one for each message, in the order of the recipients
}

// OutboxParams name an own message.
type OutboxParams struct {
	AccountParam
	ID string `json:"id"` // id of the message
}

// ReadParams are the parameters of receipt.read.
type ReadParams struct {
	PeerParams
	// ID marks the messages of the peer up to and including this one; without it, all of them.
	ID string `json:"id,omitempty"`
}

// ReadResult answers receipt.read.
type ReadResult struct {
	Read int `json:"read"` // how many messages were unread
}

// InboxParams are the parameters of message.inbox.
type InboxParams struct {
	AccountParam
	From  []string `json:"from,omitempty"`  // only messages of these peers
	Peek  bool     `json:"peek,omitempty"`  // marks nothing as read
	Limit int      `json:"limit,omitempty"` // greatest number of messages, at most 10000; 0: 1000
}

// HistoryParams are the parameters of message.history.
type HistoryParams struct {
	AccountParam
	Peer   string `json:"peer"`             // name, address or nickname
	Limit  int    `json:"limit,omitempty"`  // greatest number of messages, the newest ones, at most 10000; 0: 50
	Since  string `json:"since,omitempty"`  // not older than this time (RFC 3339)
	Before string `json:"before,omitempty"` // older than this time (RFC 3339)
}

// Events is a list of events.
type Events struct {
	Events []Event `json:"events"` // in the order that the method promises
	// Offline is set by message.inbox if mail may still wait at the server, and says why it could not be fetched.
	Offline *Error `json:"offline,omitempty"`
	// Held is set by message.inbox: messages that came under a changed key and
	// are not shown before that key is accepted.
	Held []HeldMail `json:"held,omitempty"`
}

// HeldMail counts messages of a peer that are not shown.
type HeldMail struct {
	Peer  string `json:"peer"`  // user@domain
	Count int    `json:"count"` // number of messages
}

// UnmarshalJSON reads a list. An event that cannot be read is replaced by the
// one that DecodeEvent returns.
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
