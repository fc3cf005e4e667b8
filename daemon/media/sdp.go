package media

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// Limits checked before the peer's data is parsed.
const (
	// MaxSDP bounds an offer or answer in bytes; ours have about 4 KiB.
	MaxSDP = 32 << 10
	// MaxCandidates bounds the candidates of one side until a restart.
	MaxCandidates = 64
	// MaxCandidate bounds one candidate in bytes.
	MaxCandidate = 512
	// FingerprintSize is the length of a certificate's fingerprint, a SHA-256 hash.
	FingerprintSize = sha256.Size
	// maxSections bounds the sections of a session: two kinds and two directions, doubled
	// for peers that offer more than we do.
	maxSections = 8
)

// trustedSDP validates a remote SDP and replaces all its fingerprints by the one received
// through the ratchet. (pion prefers a session-level fingerprint, so one inserted by a
// third party would win.) It removes candidates, which are sent and counted separately. It
// also returns the parsed sections.
func trustedSDP(remote string, fingerprint []byte) (string, []section, error) {
	if len(remote) > MaxSDP {
		return "", nil, fmt.Errorf("SDP of %d bytes: %w", len(remote), ErrSignal)
	}
	if len(fingerprint) != FingerprintSize {
		return "", nil, fmt.Errorf("fingerprint of %d bytes: %w", len(fingerprint), ErrSignal)
	}
	var d sdp.SessionDescription
	if err := d.UnmarshalString(remote); err != nil {
		return "", nil, fmt.Errorf("SDP (%v): %w", err, ErrSignal)
	}
	if n := len(d.MediaDescriptions); n == 0 || n > maxSections {
		return "", nil, fmt.Errorf("SDP with %d sections: %w", n, ErrSignal)
	}
	d.Attributes = without(d.Attributes, "fingerprint", "candidate", "end-of-candidates")
	d.Attributes = append(d.Attributes, sdp.NewAttribute("fingerprint", "sha-256 "+colons(fingerprint)))
	var sections []section
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Media != Audio.String() && m.MediaName.Media != Video.String() {
			return "", nil, fmt.Errorf("SDP with a section that is not sound or pictures: %w", ErrSignal)
		}
		m.Attributes = without(m.Attributes, "fingerprint", "candidate", "end-of-candidates")
		sections = append(sections, readSection(m))
	}
	liftCredentials(&d)
	b, err := d.Marshal()
	if err != nil {
		return "", nil, fmt.Errorf("SDP (%v): %w", err, ErrSignal)
	}
	return string(b), sections, nil
}

// section is one parsed section of an SDP.
type section struct {
	mid      string
	kind     Kind
	codecs   []Codec // supported codecs that it lists
	sends    bool    // its author sends
	takes    bool    // its author receives
	accepted bool    // its port is not zero
}

func readSection(m *sdp.MediaDescription) section {
	s := section{kind: Audio, sends: true, takes: true, accepted: m.MediaName.Port.Value != 0}
	if m.MediaName.Media == Video.String() {
		s.kind = Video
	}
	for _, a := range m.Attributes {
		switch a.Key {
		case "mid":
			s.mid = a.Value
		case "sendonly":
			s.takes = false
		case "recvonly":
			s.sends = false
		case "inactive":
			s.sends, s.takes = false, false
		case "rtpmap": // NUMBER NAME/RATE
			_, name, _ := strings.Cut(a.Value, " ")
			name, _, _ = strings.Cut(name, "/")
			for _, c := range []Codec{Opus, H264, VP8} {
				if strings.EqualFold(name, string(c)) && !slices.Contains(s.codecs, c) {
					s.codecs = append(s.codecs, c)
				}
			}
		}
	}
	return s
}

// liftCredentials copies the ICE user fragment and password to the session level. All
// sections are bundled and share them, but pion looks for them in only one section, which
// may be a refused one.
func liftCredentials(d *sdp.SessionDescription) {
	for _, m := range d.MediaDescriptions {
		fragment, has := m.Attribute("ice-ufrag")
		password, hasPassword := m.Attribute("ice-pwd")
		if m.MediaName.Port.Value == 0 || !has || !hasPassword {
			continue
		}
		if _, has := d.Attribute("ice-ufrag"); !has {
			d.Attributes = append(d.Attributes, sdp.NewAttribute("ice-ufrag", fragment), sdp.NewAttribute("ice-pwd", password))
		}
		return
	}
}

func without(attributes []sdp.Attribute, keys ...string) []sdp.Attribute {
	var kept []sdp.Attribute
next:
	for _, a := range attributes {
		for _, k := range keys {
			if strings.EqualFold(a.Key, k) {
				continue next
			}
		}
		kept = append(kept, a)
	}
	return kept
}

// fragmentsOf returns the ICE user fragments of an SDP (RFC 8839, section 5.4).
func fragmentsOf(remote string) []string {
	var out []string
	for line := range strings.Lines(remote) {
		if f, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			out = append(out, strings.TrimSpace(f))
		}
	}
	return out
}

// colons formats a fingerprint as in SDP (RFC 8122, section 5).
func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = strings.ToUpper(hex.EncodeToString(b[i : i+1]))
	}
	return strings.Join(parts, ":")
}

// withoutCandidates removes the candidates from a local SDP.
func withoutCandidates(local string) string {
	var b strings.Builder
	for line := range strings.Lines(local) {
		if !strings.HasPrefix(line, "a=candidate:") && !strings.HasPrefix(line, "a=end-of-candidates") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// checkCandidate validates a remote candidate before ICE parses it.
func checkCandidate(c string) error {
	if len(c) > MaxCandidate || !strings.HasPrefix(c, "candidate:") {
		return fmt.Errorf("candidate of %d bytes: %w", len(c), ErrSignal)
	}
	for _, r := range c {
		if r < ' ' || r > '~' {
			return fmt.Errorf("candidate with a character that is not printable: %w", ErrSignal)
		}
	}
	if len(strings.Fields(c)) < 8 {
		return fmt.Errorf("candidate with fields missing: %w", ErrSignal)
	}
	return nil
}

// hideBase replaces the related address of a relayed candidate, which is an address of this
// host, by zeros, as allowed by RFC 8839, section 5.1. It returns false for a candidate
// that is not relayed.
func hideBase(c string) (string, bool) {
	f := strings.Fields(c)
	relayed := false
	for i := 0; i+1 < len(f); i++ {
		switch f[i] {
		case "typ":
			relayed = f[i+1] == "relay"
		case "raddr":
			f[i+1] = "0.0.0.0"
		case "rport":
			f[i+1] = "0"
		}
	}
	return strings.Join(f, " "), relayed
}

// parseColons parses the format of colons.
func parseColons(text string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(b) != FingerprintSize {
		return nil, fmt.Errorf("fingerprint: %w", ErrSignal)
	}
	return b, nil
}
