package ledger

// Ledger contains everything that a run observed from outside: the output of commands.
type Ledger struct {
	Seed uint64 `json:"seed"`
	// Reordered says that the run reordered envelopes on purpose. Then consumers may see another order,
	// but history must not.
	Reordered bool    `json:"reordered"`
	Sends     []Send  `json:"sends"`
	Shows     []Show  `json:"shows"`
	Acks      []Ack   `json:"acks"`
	States    []State `json:"states"`
	Finals    []Final `json:"finals"`
}

// Send is one message from its sender's view. Sends of one sender to one recipient are listed in the
// order in which they were made, one after the other.
type Send struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Text is unique in the run.
	Text string `json:"text"`
	// IDs are the ids that the attempts returned. There are several only with an idempotency key, and
	// then they are equal.
	IDs []string `json:"ids"`
	// Attempts is the number of commands that were run for it.
	Attempts int `json:"attempts"`
}

// Taken reports whether send returned an id. From then on the message is promised and has a place in
// the order. A send that was killed may reach the daemon after the next one.
func (s Send) Taken() bool { return len(s.IDs) > 0 }

// Show is one line printed by a consumer. The lines of one consumer are listed in the order in which
// they were printed.
type Show struct {
	User     string `json:"user"`
	Consumer string `json:"consumer"`
	// Run is the number of the consumer's process, from 1.
	Run  int    `json:"run"`
	Seq  int64  `json:"seq"`
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Ack is an acknowledgement that was confirmed before the consumer's process number Before was started.
type Ack struct {
	User     string `json:"user"`
	Consumer string `json:"consumer"`
	Before   int    `json:"before"`
	Seq      int64  `json:"seq"`
}

// State is a state of an outgoing message, as reported by a command or event. The states from one
// source of one user are listed in the order of the reports.
type State struct {
	User   string `json:"user"`
	Source string `json:"source"` // "journal": receipt events by seq; "send": results
	ID     string `json:"id"`
	State  string `json:"state"`
}

// Final is one line of a user's history with a peer at the end, in its order.
type Final struct {
	User      string `json:"user"`
	Peer      string `json:"peer"`
	Direction string `json:"direction"` // in or out
	ID        string `json:"id"`
	Text      string `json:"text"`
	State     string `json:"state,omitempty"`
}

// Kinds of violations.
const (
	Lost      = "lost"      // taken, but not shown or not in history
	Twice     = "twice"     // shown or kept more than once
	Disorder  = "disorder"  // not in the order of sending
	Backward  = "backward"  // a state went back or is invalid
	Invented  = "invented"  // shown but never sent, or under another id
	Undecided = "undecided" // taken, but at the end neither delivered nor failed
)

// Violation is one broken promise.
type Violation struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}
