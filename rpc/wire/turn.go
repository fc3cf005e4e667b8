package wire

import "time"

// Limits of TURN credentials that both ends hold.
const (
	// MaxTurnURLs bounds the URLs of one answer.
	MaxTurnURLs = 16
	// MaxTurnText bounds each text of an answer in bytes.
	MaxTurnText = 512
	// MaxTurnLife bounds the life of TURN credentials.
	MaxTurnLife = 10 * time.Minute
)

// TurnCredentials answers POST /v1/turn: media servers, and what lets this
// account relay through them. A call that began with them may go on past their
// expiry; they are only for beginning.
type TurnCredentials struct {
	// URLs are turn:, turns:, stun: and stuns: URLs (RFC 7064, RFC 7065).
	URLs []string `json:"urls"`
	// Username is "<unix time of expiry>:<account>:<random>".
	Username string `json:"username"`
	// Password is the base64 of an HMAC-SHA1 of Username.
	Password  string `json:"password"`
	ExpiresMS int64  `json:"expires_ms"`
}
