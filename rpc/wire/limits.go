package wire

import "time"

// ProtocolVersion is the version of the REST API and the frames. There is one
// version and no negotiation: a peer that speaks another one is refused.
const ProtocolVersion = 1

// Limits that both ends hold. Server-side rates and quotas are options of the
// server's configuration; these are part of the protocol.
const (
	// MaxFrame bounds one WebSocket message in bytes, so that a peer can never
	// make the other side allocate more before it is parsed.
	MaxFrame = 128 << 10
	// MaxCiphertext bounds one envelope's ciphertext: 64 KiB of text, Padme
	// padding (at most 12 %), and the first message's chain and manifest.
	MaxCiphertext = 96 << 10
	// MaxRequestCiphertext bounds the one envelope for each device that a
	// stranger may leave: a kilobyte of text beside chain and manifest.
	MaxRequestCiphertext = 12 << 10
	// MaxBatch bounds the envelopes in one Send or Deliver frame.
	MaxBatch = 256
	// MaxSubscribe bounds the accounts whose presence one connection watches.
	MaxSubscribe = 1000
	// MaxBody bounds a REST request body in bytes: 200 one-time prekeys of
	// which 100 carry 1,184-byte ML-KEM keys, in base64, with room.
	MaxBody = 512 << 10
	// MaxValues bounds the values of a REST request body: what a parser spends
	// follows their number, not their bytes. The largest bodies, full of the
	// shortest prekeys or of ETags, have about 4,000.
	MaxValues = 4096
	// MaxDevices bounds the devices of an account (crypto/SPEC.md, "Device manifest").
	MaxDevices = 10
	// PingInterval is how often the server pings an idle connection.
	PingInterval = 25 * time.Second
	// WriteTimeout bounds one write to a connection.
	WriteTimeout = 10 * time.Second
	// TokenLife is how long an access token lets its holder open a connection.
	TokenLife = 10 * time.Minute
	// MailboxRetention is how long the server keeps an envelope for an absent device.
	MailboxRetention = 30 * 24 * time.Hour
)

// ByeOtherCopy is the text of a Bye with REASON_STALE_FENCE when another copy of
// the device is connected at that moment: then a stale copy stops instead of
// enrolling anew (PROTOCOL.md, section 3.1).
const ByeOtherCopy = "another copy of this device is connected"

// Role names what a token is good for; a token for one role is refused by the others.
type Role string

// The roles of an access token.
const (
	RoleReplica Role = "replica"
	RoleContact Role = "contact"
	RoleAPI     Role = "api"
)
