package wire

import "time"

// ProtocolVersion is the version of the REST API and the frames. There is one version and no
// negotiation: a peer with another version is refused.
const ProtocolVersion = 1

// Limits that client and server share; they are part of the protocol. Rates and quotas are not: the
// server's configuration sets them.
const (
	// MaxFrame bounds one WebSocket message in bytes, so that a peer cannot make the other side
	// allocate more before parsing.
	MaxFrame = 128 << 10
	// MaxCiphertext bounds one envelope's ciphertext: 64 KiB of text, Padme
	// padding (at most 12 %), and the first message's chain and manifest.
	MaxCiphertext = 96 << 10
	// MaxRequestCiphertext bounds the one envelope per device that a stranger may leave: a kilobyte of
	// text plus chain and manifest.
	MaxRequestCiphertext = 12 << 10
	// MaxBatch bounds the envelopes in one Send or Deliver frame.
	MaxBatch = 256
	// MaxSubscribe bounds the accounts whose presence one connection watches.
	MaxSubscribe = 1000
	// MaxBody bounds a REST request body in bytes: 200 one-time prekeys of
	// which 100 carry 1,184-byte ML-KEM keys, in base64, with room.
	MaxBody = 512 << 10
	// MaxValues bounds the values in a REST request body, because a parser's cost depends on their
	// number rather than on bytes. The largest bodies, full of the shortest prekeys or of ETags, have
	// about 4,000.
	MaxValues = 4096
	// MaxDevices bounds the devices of an account (crypto/SPEC.md, "Device manifest").
	MaxDevices = 10
	// PingInterval is how often the server pings an idle connection.
	PingInterval = 25 * time.Second
	// WriteTimeout bounds one write to a connection.
	WriteTimeout = 10 * time.Second
	// TokenLife is how long an access token can be used to open a connection.
	TokenLife = 10 * time.Minute
	// MailboxRetention is how long the server keeps an envelope for an absent device.
	MailboxRetention = 30 * 24 * time.Hour
)

// ByeOtherCopy is the text of a Bye with REASON_STALE_FENCE while another copy of the device is
// connected. On it, a stale copy stops instead of enrolling again (rpc/PROTOCOL.md, section 3.1).
const ByeOtherCopy = "another copy of this device is connected"

// Role is the purpose of a token. Each role's interface refuses tokens of other roles.
type Role string

// The roles of an access token.
const (
	RoleReplica Role = "replica"
	RoleContact Role = "contact"
	RoleAPI     Role = "api"
)
