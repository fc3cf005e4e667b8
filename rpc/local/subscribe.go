package local

import "time"

// SubscribeParams are the parameters of event.subscribe.
type SubscribeParams struct {
	// AccountParam limits the events to one account; without it, all accounts.
	AccountParam
	// From limits the events to these peers; without it, all peers.
	From []string `json:"from,omitempty"`
	// Types limits the events to these types; without it, message, call, file and
	// identity. Other types come only if they are named.
	Types []string `json:"type,omitempty"`
	// Outgoing adds the events of own messages, files and calls.
	Outgoing bool `json:"outgoing,omitempty"`
	// Consumer names a durable cursor, 1 to 64 bytes. It is created by the first
	// subscription that names it. A newer subscription of the same consumer ends
	// the older one.
	Consumer string `json:"consumer,omitempty"`
	// Since is where to start: a bare number is a seq (events after it; 0 is the
	// oldest kept), else an event id (events after it) or a time (RFC 3339; events
	// from it on). Without it the subscription starts now. It is an error for a consumer that exists.
	Since string `json:"since,omitempty"`
	// Window is how many events a consumer may leave unacknowledged before the
	// daemon stops pushing, at most 10000; 0: 256. Without a consumer only the
	// socket holds the daemon back.
	Window int `json:"window,omitempty"`
	// Retry is how often an event is tried again that the consumer's handler failed on. It
	// stays with the consumer until a subscription sets it again; at first it is 29.
	Retry *int `json:"retry,omitempty"`
	// DeadLetterAfter is how long it is tried again, in seconds, and stays with the
	// consumer likewise; at first it is one hour. Whichever ends first ends the attempts.
	DeadLetterAfter float64 `json:"dead_letter_after,omitempty"`
	// Links asks for [NotifyLink].
	Links bool `json:"links,omitempty"`
}

// Link says whether events of an account can come from its server.
type Link struct {
	Account   string `json:"account"`         // user@domain
	Connected bool   `json:"connected"`       // the receiving connection is established
	Error     *Error `json:"error,omitempty"` // why not
}

// Subscribed answers event.subscribe.
type Subscribed struct {
	Cursor int64 `json:"cursor"` // events with a greater seq follow
	Newest int64 `json:"newest"` // seq of the newest event at the moment of the answer
}

// AckParams are the parameters of event.ack.
type AckParams struct {
	Consumer string `json:"consumer"` // name of the consumer
	ID       string `json:"id"`       // a seq, as a string, or an event id
}

// FailParams are the parameters of event.fail. The events pushed before this one
// must be acknowledged.
type FailParams struct {
	Consumer string `json:"consumer"` // name of the consumer
	ID       string `json:"id"`       // a seq, as a string, or an event id
}

// Failed answers event.fail.
type Failed struct {
	Attempts int `json:"attempts"` // failed attempts so far, counted durably
	// Dead says that this was the last attempt: the event is a dead letter, and
	// the cursor has passed it.
	Dead bool `json:"dead"`
	// RetryAfter is the pause before the next attempt in seconds; 0 if dead.
	RetryAfter float64 `json:"retry_after"`
}

// DeadLetter is an event that a consumer's handler never took.
type DeadLetter struct {
	Seq      int64  `json:"seq"`          // seq of the event
	ID       string `json:"id,omitempty"` // id of the event; absent once its retention has ended
	Attempts int    `json:"attempts"`     // how often it was tried
	Time     Time   `json:"time"`         // time of the last attempt
}

// Consumer describes a named consumer.
type Consumer struct {
	Name     string `json:"name"`     // name of the consumer
	Cursor   int64  `json:"cursor"`   // seq of the last event that counts as handled
	Lag      int64  `json:"lag"`      // newest seq minus cursor
	Attached bool   `json:"attached"` // a subscription of it runs
	Created  Time   `json:"created"`  // when it first subscribed
	Acked    Time   `json:"acked"`    // its last acknowledgement
	Missed   int64  `json:"missed"`   // events that retention deleted before the consumer had them
	// Dead lists the newest dead letters, oldest first, at most 100.
	Dead []DeadLetter `json:"dead"`
	// DeadLetters counts all dead letters that the consumer ever had.
	DeadLetters int64 `json:"dead_letters"`
	// Retry is as in event.subscribe.
	Retry int `json:"retry"`
	// DeadLetterAfter is as in event.subscribe, in seconds.
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
	Oldest    int64      `json:"oldest"`    // seq of the oldest event that is kept; 0: none
	Newest    int64      `json:"newest"`    // seq of the newest event; 0: none
	Consumers []Consumer `json:"consumers"` // by name
}

// ConsumerParams name a consumer.
type ConsumerParams struct {
	Name string `json:"name"` // name of the consumer
}
