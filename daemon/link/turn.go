package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"secmsg/rpc/wire"
)

// TurnCredentials requests media servers, and credentials to relay calls through them.
// Besides the errors of every call it fails with the codes not_found (the server has none),
// unavailable (temporarily; calls without a relay still work) and rate_limited.
func (c *Client) TurnCredentials(ctx context.Context) (wire.TurnCredentials, error) {
	var out wire.TurnCredentials
	if err := c.authorized(ctx, http.MethodPost, "/v1/turn", nil, &out); err != nil {
		return wire.TurnCredentials{}, err
	}
	_, host := c.endpoint.address()
	if err := checkTurn(out, loopback(host)); err != nil {
		return wire.TurnCredentials{}, fmt.Errorf("turn credentials: %w: %w", ErrProtocol, err)
	}
	return out, nil
}

// checkTurn validates the server's values, since they are passed to a URL parser and into
// STUN attributes of the media library. Unless the server is on this machine (here), it
// must not direct the client to local services.
func checkTurn(t wire.TurnCredentials, here bool) error {
	if len(t.URLs) == 0 || len(t.URLs) > wire.MaxTurnURLs {
		return fmt.Errorf("%d URLs", len(t.URLs))
	}
	for _, u := range t.URLs {
		scheme, rest, _ := strings.Cut(u, ":")
		switch scheme {
		case "turn", "turns", "stun", "stuns":
		default:
			return errors.New("a URL with another scheme")
		}
		if rest == "" || len(u) > wire.MaxTurnText || !printable(u) {
			return errors.New("an invalid URL")
		}
		if !here && ownAddress(turnHost(rest)) {
			return errors.New("a URL of this machine")
		}
	}
	for _, text := range []string{t.Username, t.Password} {
		if text == "" || len(text) > wire.MaxTurnText || !printable(text) {
			return errors.New("an invalid username or password")
		}
	}
	return nil
}

// turnHost returns the host of HOST[:PORT][?...] (RFC 7065, section 3.1).
func turnHost(rest string) string {
	hostPort, _, _ := strings.Cut(rest, "?")
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		return host
	}
	return strings.Trim(hostPort, "[]")
}

// ownAddress reports whether a host is this machine, or is reachable on its link only, such
// as the metadata service of a virtual machine.
func ownAddress(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast())
}

// printable reports whether s is ASCII without spaces and control characters.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
