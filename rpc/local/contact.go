package local

// Contact describes a peer.
type Contact struct {
	Peer               string            `json:"peer"`                  // user@domain
	Nick               string            `json:"nick,omitempty"`        // local nickname
	Contact            bool              `json:"contact"`               // the peer is on the contact list
	Request            bool              `json:"request"`               // a stranger who wrote first and waits for contact.add
	Trust              string            `json:"trust"`                 // trust state of the peer
	Fingerprint        string            `json:"fingerprint,omitempty"` // fingerprint of the pinned key
	Changed            string            `json:"changed,omitempty"`     // fingerprint of a new key that waits for identity.trust
	Held               int               `json:"held"`                  // own messages that wait for a decision about the peer
	Policy             map[string]string `json:"policy,omitempty"`      // policies that contact.set has set
	Devices            []Device          `json:"devices,omitempty"`     // devices of the peer, as far as they are known
	CertificateExpires Time              `json:"certificate_expires"`   // end of the peer's certificate
}

// Contacts answers contact.list.
type Contacts struct {
	Contacts []Contact `json:"contacts"` // by address
}

// ContactNickParams are the parameters of contact.nick.
type ContactNickParams struct {
	PeerParams
	Name string `json:"name"` // the nickname; empty removes it
}

// ContactSetParams are the parameters of contact.set.
type ContactSetParams struct {
	PeerParams
	Key   string `json:"key"`   // name of the policy
	Value string `json:"value"` // its value; empty resets it
}

// VerifyParams are the parameters of identity.verify. Without expect and confirm it changes nothing.
type VerifyParams struct {
	PeerParams
	// Expect is the safety number that the peer sees, 60 digits with or without
	// spaces; it is compared.
	Expect string `json:"expect,omitempty"`
	// Confirm says that a person has compared the number.
	Confirm bool `json:"confirm,omitempty"`
}

// Verification answers identity.verify.
type Verification struct {
	Peer         string `json:"peer"`          // user@domain
	Trust        string `json:"trust"`         // trust state of the peer, after the change
	SafetyNumber string `json:"safety_number"` // 60 digits, the same on both sides
	Fingerprint  string `json:"fingerprint"`   // fingerprint of the pinned key
	// QR is the text of this side's QR code, secmsg://DOMAIN/verify#USER.DIGITS,
	// with the own user name and the safety number.
	QR string `json:"qr,omitempty"`
}

// TrustParams are the parameters of identity.trust: exactly one of key and discard.
type TrustParams struct {
	PeerParams
	Key     string `json:"key,omitempty"`     // fingerprint of the key to accept, which may also be the pinned one
	Discard bool   `json:"discard,omitempty"` // drops messages that are held because of the change
}

// PresenceParams are the parameters of presence.list.
type PresenceParams struct {
	AccountParam
	Peers []string `json:"peers,omitempty"` // without it, all contacts
}

// PresenceEntry is one peer of presence.list.
type PresenceEntry struct {
	Peer string `json:"peer"` // user@domain
	// Online says that a device of the peer is connected; absent while unknown, as it is without a connection.
	Online *bool `json:"online,omitempty"`
	// Mutual says that both sides have each other as contact; absent while unknown.
	Mutual *bool `json:"mutual,omitempty"`
	// LastSeen is the last time at which the server reported the peer online.
	LastSeen Time `json:"last_seen"`
}

// PresenceList answers presence.list.
type PresenceList struct {
	Presence []PresenceEntry `json:"presence"` // in the order of peers, or by name
	// Offline says why the server could not be asked.
	Offline *Error `json:"offline,omitempty"`
}
