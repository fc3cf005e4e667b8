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

// maxTurnLifetime bounds limits.turn.lifetime: who loses the account loses the
// relay within this time.
const maxTurnLifetime = 10 * time.Minute

// maxTurnExternal bounds turn.external: no device takes more URLs in one answer.
const maxTurnExternal = 16

// ServerMedia is the media server, which relays calls (TURN and STUN).
type ServerMedia struct {
	Listen        string   `config:"listen" doc:"UDP and TCP address of the media server; with the default and a loopback address in listen, a free port on loopback"`
	PublicAddress []string `config:"public_address" doc:"IP address, or one of each family, that the world knows this machine by; needed behind a NAT"`
	RelayPorts    string   `config:"relay_ports" doc:"UDP ports of relayed calls, FIRST-LAST; they must be reachable from everywhere"`
	Allow         []string `config:"allow" doc:"networks that calls may be relayed to beside public addresses, such as 10.1.0.0/16"`
}

// ServerTurn says whose media server calls use, and by which secret.
type ServerTurn struct {
	External   []string `config:"external" doc:"turn:, turns: and stun: URLs of another media server, such as coturn, to use instead of the own one"`
	Secret     string   `config:"secret" doc:"the secret shared with it (coturn: static-auth-secret); better in a file"`
	SecretFile string   `config:"secret_file" doc:"file that holds the secret"`
}

// TurnLimits bound what the media server does.
type TurnLimits struct {
	Allocations int           `config:"allocations" doc:"allocations of an account at a time; a call takes two"`
	Total       int           `config:"total" doc:"allocations of all accounts at a time; each is a UDP port"`
	Bandwidth   Size          `config:"bandwidth" doc:"bytes a second that an account may relay, both directions together"`
	Lifetime    time.Duration `config:"lifetime" doc:"life of credentials, and what one refresh adds to an allocation; at most 10m"`
	Session     time.Duration `config:"session" doc:"how long an allocation may be refreshed altogether"`
	Requests    Rate          `config:"requests" doc:"what is answered to an address without an allocation (/64 for IPv6)"`
	Credentials Rate          `config:"credentials" doc:"credentials handed out, per account"`
}

// Ports returns the first and last port of RelayPorts.
func (m ServerMedia) Ports() (first, last uint16, err error) {
	a, b, ok := strings.Cut(m.RelayPorts, "-")
	low, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || high < low {
		return 0, 0, fmt.Errorf("media.relay_ports: %q is not FIRST-LAST, such as 49152-65535", m.RelayPorts)
	}
	return uint16(low), uint16(high), nil
}

// Addresses returns PublicAddress parsed: at most one address of each family.
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
				return nil, errors.New("media.public_address: two addresses of one family")
			}
		}
		list = append(list, a)
	}
	return list, nil
}

// Networks returns Allow parsed.
func (m ServerMedia) Networks() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range m.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("media.allow: %q is not a network such as 10.1.0.0/16", text)
		}
		if p.Bits() == 0 || p.Addr().IsLoopback() || p.Addr().IsUnspecified() || p.Addr().IsMulticast() {
			return nil, fmt.Errorf("media.allow: %s is never relayed to", text)
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
		problems = append(problems, fmt.Errorf("turn.external: %d URLs; at most %d", len(t.External), maxTurnExternal))
	}
	for _, u := range t.External {
		scheme, rest, _ := strings.Cut(u, ":")
		switch scheme {
		case "turn", "turns", "stun", "stuns":
		default:
			rest = ""
		}
		if rest == "" || strings.ContainsAny(rest, "/@ ") {
			problems = append(problems, fmt.Errorf("turn.external: %q is not a URL such as turn:turn.example.com:3478?transport=udp", u))
		}
	}
	if t.Secret != "" && t.SecretFile != "" {
		problems = append(problems, errors.New("turn.secret, turn.secret_file: both are set"))
	}
	if len(t.External) > 0 && t.Secret == "" && t.SecretFile == "" {
		problems = append(problems, errors.New("turn.secret: missing, and turn.external is set; set it or turn.secret_file"))
	}
	return errors.Join(problems...)
}
