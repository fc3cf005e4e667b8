package identity

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of names in bytes.
const (
	// MaxUser bounds an account's name.
	MaxUser = 32
	// MaxDomain bounds a domain, as in DNS (RFC 1035, section 2.3.4).
	MaxDomain = 253
	// MaxAddress bounds the text form of an address.
	MaxAddress = MaxUser + 1 + MaxDomain
	// MaxHostPort bounds HOST or HOST:PORT.
	MaxHostPort = MaxDomain + len(":65535")

	maxDNSLabel = 63
)

// URIScheme is the scheme of an account's URI and of an invite.
const URIScheme = "secmsg"

// Address names an account of a realm: user@domain. It is comparable. The zero value names no account.
type Address struct {
	User   string // see ValidUser
	Domain string // see ValidDomain; the realm
}

// ParseAddress parses user@domain. It normalises nothing: it refuses upper case, a trailing dot and
// white space with [ErrFormat].
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxAddress {
		return Address{}, fmt.Errorf("address of %d bytes: %w", len(s), ErrFormat)
	}
	user, domain, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, fmt.Errorf("address %q has no @: %w", s, ErrFormat)
	}
	a := Address{User: user, Domain: domain}
	return a, a.Validate()
}

// Validate returns nil if both parts of a are valid, else [ErrFormat].
func (a Address) Validate() error {
	if err := ValidUser(a.User); err != nil {
		return err
	}
	return ValidDomain(a.Domain)
}

// String returns user@domain.
func (a Address) String() string { return a.User + "@" + a.Domain }

// URI returns secmsg://domain/user, the name in certificates.
func (a Address) URI() string { return URIScheme + "://" + a.Domain + "/" + a.User }

// IsZero reports whether a is the zero value.
func (a Address) IsZero() bool { return a == Address{} }

// MarshalText returns user@domain.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses user@domain, as [ParseAddress] does.
func (a *Address) UnmarshalText(text []byte) error {
	b, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = b
	return nil
}

// ValidUser returns nil if s is a valid account name: 1 to 32 of a-z, 0-9, dot, underscore and hyphen,
// the first a letter or digit. Otherwise it returns [ErrFormat].
func ValidUser(s string) error {
	if len(s) == 0 || len(s) > MaxUser {
		return fmt.Errorf("user name of %d bytes: %w", len(s), ErrFormat)
	}
	for i := range len(s) {
		c := s[i]
		if !isLowerAlnum(c) && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("user name %q: %w", s, ErrFormat)
		}
	}
	return nil
}

// ValidDomain returns nil if s is a valid realm name: a DNS name in lower case without a final dot,
// with labels of letters, digits and inner hyphens, whose last label is not a number (so it is no IP
// address). Otherwise it returns [ErrFormat]. Internationalised names are in A-label form.
func ValidDomain(s string) error {
	if len(s) == 0 || len(s) > MaxDomain {
		return fmt.Errorf("domain of %d bytes: %w", len(s), ErrFormat)
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return fmt.Errorf("domain %q: %w", s, ErrFormat)
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("domain %q ends in a number: %w", s, ErrFormat)
	}
	return nil
}

func validLabel(s string) bool {
	if len(s) == 0 || len(s) > maxDNSLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLowerAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// ValidHostPort returns nil if s is HOST or HOST:PORT in canonical form: HOST is a domain, an IPv4
// address, or an IPv6 address in brackets without a zone; PORT is 1 to 65535 without leading zeros.
// Otherwise it returns [ErrFormat].
func ValidHostPort(s string) error {
	host, port, hasPort, ok := splitHostPort(s)
	if !ok || len(s) > MaxHostPort {
		return fmt.Errorf("host %q: %w", s, ErrFormat)
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return fmt.Errorf("port %q: %w", port, ErrFormat)
		}
	}
	if inner, isV6 := strings.CutPrefix(host, "["); isV6 {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || "["+ip.String()+"]" != host {
			return fmt.Errorf("host %q: %w", host, ErrFormat)
		}
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !ip.Is4() {
			return fmt.Errorf("host %q: %w", host, ErrFormat)
		}
		return nil
	}
	return ValidDomain(host)
}

// splitHostPort splits off the port; an IPv6 host keeps its brackets.
func splitHostPort(s string) (host, port string, hasPort, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false, false
		}
		host, s = s[:end+1], s[end+1:]
		if s == "" {
			return host, "", false, true
		}
		port, hasPort = strings.CutPrefix(s, ":")
		return host, port, hasPort, hasPort
	}
	host, port, hasPort = strings.Cut(s, ":")
	return host, port, hasPort, true
}

// addAddress adds user and domain, each with a one-byte length in front.
func addAddress(b *cryptobyte.Builder, a Address) {
	if err := a.Validate(); err != nil {
		b.SetError(err)
		return
	}
	addBytes8(b, []byte(a.User))
	addBytes8(b, []byte(a.Domain))
}

// readAddress reads what addAddress wrote.
func readAddress(s *cryptobyte.String, out *Address) bool {
	var a Address
	if !readString8(s, &a.User) || !readString8(s, &a.Domain) || a.Validate() != nil {
		return false
	}
	*out = a
	return true
}
