package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"secmsg/rpc/wire"
)

// TurnCredentials asks for media servers and what lets this account relay calls
// through them. Besides the errors of every call it fails with the codes
// not_found (the server has none), unavailable (not now; calls without a relay
// still work) and rate_limited.
func (c *Client) TurnCredentials(ctx context.Context) (wire.TurnCredentials, error) {
	var out wire.TurnCredentials
	if err := c.authorized(ctx, http.MethodPost, "/v1/turn", nil, &out); err != nil {
		return wire.TurnCredentials{}, err
	}
	if err := checkTurn(out); err != nil {
		return wire.TurnCredentials{}, fmt.Errorf("turn credentials: %w: %w", ErrProtocol, err)
	}
	return out, nil
}

// checkTurn refuses what no media library should be given: the server's words
// end up in a parser of URLs and in STUN attributes.
func checkTurn(t wire.TurnCredentials) error {
	if len(t.URLs) == 0 || len(t.URLs) > wire.MaxTurnURLs {
		return fmt.Errorf("%d URLs", len(t.URLs))
	}
	for _, u := range t.URLs {
		scheme, rest, _ := strings.Cut(u, ":")
		switch scheme {
		case "turn", "turns", "stun", "stuns":
		default:
			return errors.New("a URL of another kind")
		}
		if rest == "" || len(u) > wire.MaxTurnText || !printable(u) {
			return errors.New("a URL that is none")
		}
	}
	for _, text := range []string{t.Username, t.Password} {
		if text == "" || len(text) > wire.MaxTurnText || !printable(text) {
			return errors.New("a username or password that is none")
		}
	}
	return nil
}

// printable reports whether s is ASCII without spaces and controls.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
