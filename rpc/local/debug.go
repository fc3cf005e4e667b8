package local

// DebugState answers debug.state: what the daemon is waiting for, for people who
// look for the reason of something. Its members follow the daemon's inner parts and
// may change with any version.
type DebugState struct {
	Goroutines int            `json:"goroutines"` // running goroutines
	HeapBytes  uint64         `json:"heap_bytes"` // memory in use, without what the operating system lent in advance
	Accounts   []DebugAccount `json:"accounts"`   // one for each account; empty while the profile is locked
}

// DebugAccount is the inner state of one account.
type DebugAccount struct {
	Address  string           `json:"address"`          // user@domain
	Up       bool             `json:"up"`               // the sending connection stands, and this device may send
	Loaded   bool             `json:"loaded"`           // unanswered envelopes were read from the disk
	InFlight int              `json:"in_flight"`        // envelopes sent and not answered
	Window   int              `json:"window"`           // how many may be in flight
	Paused   float64          `json:"paused,omitempty"` // seconds until the server's rate limit lets the account send again
	Tasks    []DebugTask      `json:"tasks"`            // what will be done, soonest first
	Pairs    []DebugPair      `json:"pairs"`            // recipients' devices with unanswered envelopes; at most 1,000
	Peers    []DebugPeer      `json:"peers"`            // peers about whom the server is being asked; at most 1,000
	Counts   map[string]int64 `json:"counts"`           // envelopes that were not shown, by reason, since the profile was made
}

// DebugTask is something that the account does at a time.
type DebugTask struct {
	Name string  `json:"name"` // name of the task
	In   float64 `json:"in"`   // seconds until it is due; 0: now
}

// DebugPair is the queue of envelopes to one device.
type DebugPair struct {
	Peer     string  `json:"peer"`               // user part of the recipient's address
	Device   string  `json:"device"`             // id of the device
	Waiting  int     `json:"waiting"`            // envelopes without a final answer
	InFlight int     `json:"in_flight"`          // of them, sent and not answered
	Blocked  string  `json:"blocked,omitempty"`  // why the server refused the last one for now, such as quota
	RetryIn  float64 `json:"retry_in,omitempty"` // seconds until the refused one is sent again
	Tries    int     `json:"tries,omitempty"`    // refusals in a row
	Full     bool    `json:"full,omitempty"`     // its mailbox has been full for so long that messages to it fail
}

// DebugPeer is the state of questions to the server about one peer.
type DebugPeer struct {
	Peer        string  `json:"peer"`                   // address of the peer
	Asking      bool    `json:"asking,omitempty"`       // a question is under way
	RetryIn     float64 `json:"retry_in,omitempty"`     // seconds until the next question
	Tries       int     `json:"tries,omitempty"`        // failures in a row
	Refresh     bool    `json:"refresh,omitempty"`      // its list of devices must be fetched before the next message
	WithoutKeys int     `json:"without_keys,omitempty"` // its devices that had no keys to start a session with
}

// DebugGoroutines answers debug.goroutines.
type DebugGoroutines struct {
	Text string `json:"text"` // stacks of all goroutines, equal ones once, without arguments
}
