package media

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// Limits of what a peer can send before anything parses it.
const (
	// MaxSDP bounds an offer or answer in bytes; ours have about 4 KiB.
	MaxSDP = 32 << 10
	// MaxCandidates bounds the candidates of one side until a restart.
	MaxCandidates = 64
	// MaxCandidate bounds one candidate in bytes.
	MaxCandidate = 512
	// FingerprintSize is the length of a certificate's fingerprint, a SHA-256.
	FingerprintSize = sha256.Size
	// maxSections is the most that a session has: both kinds, both ways, twice
	// for peers that offer more than we do.
	maxSections = 8
)

// trustedSDP checks a remote SDP and returns it with the fingerprint that came
// through the ratchet in place of all others: pion reads a session-level
// fingerprint first, so one that a third party slipped in would win. Candidates
// are removed, they come one by one and are counted. It also returns what the
// sections say.
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

// section is what one section of an SDP says.
type section struct {
	mid      string
	kind     Kind
	codecs   []Codec // those of ours that it names
	sends    bool    // the side that wrote it sends
	takes    bool    // the side that wrote it takes
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

// liftCredentials names the user fragment and password of ICE for the whole
// session. All sections are bundled and share them, but pion looks for them in
// one section only, and that may be one that was refused.
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

// fragmentsOf are the user name fragments of an SDP (RFC 8839, section 5.4).
func fragmentsOf(remote string) []string {
	var out []string
	for line := range strings.Lines(remote) {
		if f, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			out = append(out, strings.TrimSpace(f))
		}
	}
	return out
}

// colons prints a fingerprint as SDP does (RFC 8122, section 5).
func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = strings.ToUpper(hex.EncodeToString(b[i : i+1]))
	}
	return strings.Join(parts, ":")
}

// withoutCandidates removes the candidates of an SDP of ours.
func withoutCandidates(local string) string {
	var b strings.Builder
	for line := range strings.Lines(local) {
		if !strings.HasPrefix(line, "a=candidate:") && !strings.HasPrefix(line, "a=end-of-candidates") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// checkCandidate looks at a remote candidate before ICE parses it.
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

// hideBase replaces the related address of a relayed candidate, which is an
// address of this host, by zeros as RFC 8839, section 5.1 allows. It reports
// false for every candidate that is not relayed.
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

// parseColons reads what colons prints.
func parseColons(text string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(b) != FingerprintSize {
		return nil, fmt.Errorf("fingerprint: %w", ErrSignal)
	}
	return b, nil
}
