package wire

import "time"

// Limits of TURN credentials that client and server share.
const (
	// MaxTurnURLs bounds the URLs of one answer.
	MaxTurnURLs = 16
	// MaxTurnText bounds each text of an answer in bytes.
	MaxTurnText = 512
	// MaxTurnLife bounds the life of TURN credentials.
	MaxTurnLife = 10 * time.Minute
)

// TurnCredentials answers POST /v1/turn: media servers, and credentials for relaying through them. Only
// the start of a relay needs valid credentials: a call that has begun may outlast them.
type TurnCredentials struct {
	URLs      []string `json:"urls" doc:"turn:, turns:, stun: and stuns: URLs (RFC 7064, RFC 7065); at most 16"`
	Username  string   `json:"username" doc:"<unix time of expiry>:<account>:<random>; a client does not read it"`
	Password  string   `json:"password" doc:"base64 of HMAC-SHA1 of the username; a client does not read it"`
	ExpiresMS int64    `json:"expires_ms" doc:"until when a call may begin with them, Unix milliseconds; at most 10 minutes"`
}
