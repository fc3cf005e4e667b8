package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// DefaultMediaListen is the default of media.listen: the port of RFC 8656.
const DefaultMediaListen = ":3478"

// maxTurnLifetime bounds limits.turn.lifetime. A suspended or deleted account can use
// the relay for this long at most.
const maxTurnLifetime = 10 * time.Minute

// maxTurnExternal bounds turn.external. Devices accept no more URLs in one answer.
const maxTurnExternal = 16

// ServerMedia is the media server, which relays calls (TURN and STUN).
type ServerMedia struct {
	Listen        string   `config:"listen" doc:"UDP and TCP address of the media server; by default a free loopback port if listen is a loopback address"`
	PublicAddress []string `config:"public_address" doc:"public IP address of this machine, or one of each family; needed behind a NAT"`
	RelayPorts    string   `config:"relay_ports" doc:"UDP ports of relayed calls, FIRST-LAST; they must be reachable for all callers"`
	Allow         []string `config:"allow" doc:"networks besides public addresses that calls may be relayed to, such as 10.1.0.0/16"`
}

// ServerTurn configures an external media server for calls.
type ServerTurn struct {
	External   []string `config:"external" doc:"turn:, turns: and stun: URLs of an external media server, such as coturn, that replaces the built-in one"`
	Secret     string   `config:"secret" doc:"secret shared with the external server (coturn: static-auth-secret); prefer secret_file"`
	SecretFile string   `config:"secret_file" doc:"file that holds the secret"`
}

// TurnLimits bounds the use of the media server.
type TurnLimits struct {
	Allocations int           `config:"allocations" doc:"allocations of an account at a time; a call takes two"`
	Total       int           `config:"total" doc:"allocations of all accounts at a time; each takes a UDP port"`
	Bandwidth   Size          `config:"bandwidth" doc:"bytes per second that an account may relay, both directions together"`
	Lifetime    time.Duration `config:"lifetime" doc:"lifetime of credentials, and of an allocation after each refresh; at most 10m"`
	Session     time.Duration `config:"session" doc:"how long an allocation may be kept alive by refreshes"`
	Requests    Rate          `config:"requests" doc:"answers to an address without an allocation (/64 for IPv6)"`
	Credentials Rate          `config:"credentials" doc:"credentials issued, per account"`
}

// Ports returns the first and last port of RelayPorts.
func (m ServerMedia) Ports() (first, last uint16, err error) {
	a, b, ok := strings.Cut(m.RelayPorts, "-")
	low, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || high < low {
		return 0, 0, fmt.Errorf("media.relay_ports: %q is not FIRST-LAST (example: 49152-65535)", m.RelayPorts)
	}
	return uint16(low), uint16(high), nil
}

// Addresses returns PublicAddress, parsed: at most one address of each family.
func (m ServerMedia) Addresses() ([]netip.Addr, error) {
	var list []netip.Addr
	for _, text := range m.PublicAddress {
		a, err := netip.ParseAddr(text)
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return nil, fmt.Errorf("media.public_address: %q is not an IP address", text)
		}
		a = a.Unmap()
		for _, other := range list {
			if other.Is4() == a.Is4() {
				return nil, errors.New("media.public_address: only one address of each family is allowed")
			}
		}
		list = append(list, a)
	}
	return list, nil
}

// Networks returns Allow, parsed.
func (m ServerMedia) Networks() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range m.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("media.allow: %q is not a network (example: 10.1.0.0/16)", text)
		}
		if p.Bits() == 0 || p.Addr().IsLoopback() || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
			return nil, fmt.Errorf("media.allow: calls to %s cannot be allowed", text)
		}
		list = append(list, p)
	}
	return list, nil
}

// validate checks the section media.
func (m ServerMedia) validate() error {
	var problems []error
	if _, _, err := net.SplitHostPort(m.Listen); err != nil {
		problems = append(problems, fmt.Errorf("media.listen: %q is not [HOST]:PORT", m.Listen))
	}
	_, _, portsErr := m.Ports()
	_, addressErr := m.Addresses()
	_, allowErr := m.Networks()
	return errors.Join(append(problems, portsErr, addressErr, allowErr)...)
}

// validate checks the section turn.
func (t ServerTurn) validate() error {
	var problems []error
	if len(t.External) > maxTurnExternal {
		problems = append(problems, fmt.Errorf("turn.external: %d URLs are too many; at most %d are allowed", len(t.External), maxTurnExternal))
	}
	for _, u := range t.External {
		scheme, rest, _ := strings.Cut(u, ":")
		switch scheme {
		case "turn", "turns", "stun", "stuns":
		default:
			rest = ""
		}
		if rest == "" || strings.ContainsAny(rest, "/@ ") {
			problems = append(problems, fmt.Errorf("turn.external: %q is not a TURN or STUN URL (example: turn:turn.example.com:3478?transport=udp)", u))
		}
	}
	if t.Secret != "" && t.SecretFile != "" {
		problems = append(problems, errors.New("turn.secret, turn.secret_file: only one of the two may be set"))
	}
	if len(t.External) > 0 && t.Secret == "" && t.SecretFile == "" {
		problems = append(problems, errors.New("turn.secret: missing; turn.external needs it or turn.secret_file"))
	}
	return errors.Join(problems...)
}
