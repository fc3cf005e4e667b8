package local

// StopParams are the parameters of daemon.stop.
type StopParams struct {
	// IfIdle refuses to stop a daemon while something runs that would not continue
	// by itself after a restart: another connection, a call, or a profile unlocked by hand.
	IfIdle bool `json:"if_idle,omitempty"`
}

// Status answers status.get.
type Status struct {
	PID      int             `json:"pid"`      // process id of the daemon
	Version  string          `json:"version"`  // version of the daemon
	Replaced bool            `json:"replaced"` // the daemon's binary was replaced since the daemon started
	Locked   bool            `json:"locked"`   // the profile is locked by its passphrase
	Accounts []AccountStatus `json:"accounts"` // empty while the profile is locked
}

// AccountStatus is one account in the answer of status.get.
type AccountStatus struct {
	Name          string `json:"name"`            // the user part of the address
	Address       string `json:"address"`         // user@domain
	Device        string `json:"device"`          // id of this device
	Connected     bool   `json:"connected"`       // both connections to the server are established
	Replica       bool   `json:"replica"`         // the receiving connection is established
	Contact       bool   `json:"contact"`         // the sending connection is established
	Outbox        int    `json:"outbox"`          // messages that the server has not accepted yet
	Held          int    `json:"held"`            // messages that wait for a decision of this user or the peer
	Unread        int    `json:"unread"`          // messages that nobody has read
	LastReceived  Time   `json:"last_received"`   // arrival of the newest message
	Error         *Error `json:"error,omitempty"` // why the account is not connected
	ClockOffsetMS int64  `json:"clock_offset_ms"` // this machine's clock minus the server's, in milliseconds
	// Counts says how many envelopes were not shown since the profile was made, by
	// reason, such as duplicate or refused. Reasons that never occurred are left out.
	Counts map[string]int64 `json:"counts"`
}

// CheckResult answers status.check for one account.
type CheckResult struct {
	Name    string  `json:"name"`            // the user part of the address
	OK      bool    `json:"ok"`              // the probe came back
	RoundMS float64 `json:"round_trip_ms"`   // time of the round trip in milliseconds
	Error   *Error  `json:"error,omitempty"` // why the probe did not come back
}

// JoinParams are the parameters of account.join.
type JoinParams struct {
	// Invite is the text of an invite: secmsg://HOST[:PORT]/join#TOKEN.FINGERPRINT.
	Invite string `json:"invite"`
	// Name is the user name that the account gets.
	Name string `json:"name"`
	// DeviceName names this device in lists of devices; the host name by default.
	DeviceName string `json:"device_name,omitempty"`
	// Passphrase protects the keys of a new profile.
	Passphrase string `json:"passphrase,omitempty"`
}

// Account describes an own account.
type Account struct {
	Name               string `json:"name"`                // the user part of the address
	Address            string `json:"address"`             // user@domain
	Default            bool   `json:"default"`             // it is used where no account is named
	Device             string `json:"device"`              // id of this device
	DeviceName         string `json:"device_name"`         // name of this device
	Fingerprint        string `json:"fingerprint"`         // fingerprint of the account's identity key
	Realm              string `json:"realm"`               // fingerprint of the root certificate of the realm
	Server             string `json:"server"`              // HOST:PORT
	CertificateExpires Time   `json:"certificate_expires"` // end of the account's certificate, which the daemon renews
}

// AccountNameParams name one account.
type AccountNameParams struct {
	// Name is the name or address of an own account.
	Name string `json:"name"`
}

// UnlockParams are the parameters of profile.unlock.
type UnlockParams struct {
	Passphrase string `json:"passphrase"` // the passphrase of the profile
}

// Devices answers device.list.
type Devices struct {
	Devices []Device `json:"devices"` // in the order of the account's device list
}

// Device describes one device of a peer or of the own account.
type Device struct {
	ID      string `json:"id"`                // id of the device
	Name    string `json:"name"`              // name that its owner gave it
	Added   Time   `json:"added"`             // when it joined the account
	This    bool   `json:"this,omitempty"`    // it is the device of this daemon
	Primary bool   `json:"primary,omitempty"` // it holds the identity key of the account
}
