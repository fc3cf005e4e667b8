package e2e

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// Bounds of a call signal. daemon/media has the same bounds for its inputs.
const (
	// MaxSDP bounds a session description in bytes. With two video codecs and one audio codec it has
	// about three thousand.
	MaxSDP = 16 << 10
	// MaxCandidates bounds the candidates of one signal.
	MaxCandidates = 32
	// MaxCandidate bounds a candidate in bytes.
	MaxCandidate = 512
	// CallSecretSize is the length of each side's contribution to the media keys in bytes.
	CallSecretSize = 32
	// MaxRing bounds how long a call may ring.
	MaxRing = 10 * time.Minute
	// MaxGeneration bounds the restarts of one call.
	MaxGeneration = 1 << 20
)

// checkCall checks the rules of a call signal.
func checkCall(c *Call) error {
	if len(c.GetId()) != IDSize {
		return fmt.Errorf("%w: call id of %d bytes", ErrMalformed, len(c.GetId()))
	}
	switch {
	case c.GetOffer() != nil:
		o := c.GetOffer()
		if ring := time.Duration(o.GetRingMs()) * time.Millisecond; ring <= 0 || ring > MaxRing {
			return fmt.Errorf("%w: call that rings %s", ErrMalformed, ring)
		}
		return checkDescription(o.GetSdp(), o.GetSecret(), o.GetFingerprint())
	case c.GetRinging() != nil:
		return nil
	case c.GetAnswer() != nil:
		a := c.GetAnswer()
		return checkDescription(a.GetSdp(), a.GetSecret(), a.GetFingerprint())
	case c.GetCandidates() != nil:
		return checkCandidates(c.GetCandidates())
	case c.GetRestart() != nil:
		r := c.GetRestart()
		if r.GetGeneration() > MaxGeneration || (r.GetGeneration() == 0) != (r.GetSdp() == "") || len(r.GetSdp()) > MaxSDP {
			return fmt.Errorf("%w: restart %d of a call with %d bytes", ErrMalformed, r.GetGeneration(), len(r.GetSdp()))
		}
		return nil
	case c.GetEnd() != nil:
		// An unknown reason also ends a call.
		if c.GetEnd().GetReason() == CallReason_CALL_REASON_UNSPECIFIED {
			return fmt.Errorf("%w: end of a call without reason", ErrMalformed)
		}
		return nil
	}
	return fmt.Errorf("%w: empty call signal", ErrMalformed)
}

func checkDescription(sdp string, secret, fingerprint []byte) error {
	switch {
	case sdp == "" || len(sdp) > MaxSDP:
		return fmt.Errorf("%w: session description of %d bytes", ErrMalformed, len(sdp))
	case len(secret) != CallSecretSize:
		return fmt.Errorf("%w: call secret of %d bytes", ErrMalformed, len(secret))
	case len(fingerprint) != sha256.Size:
		return fmt.Errorf("%w: call fingerprint of %d bytes", ErrMalformed, len(fingerprint))
	}
	return nil
}

func checkCandidates(c *CallCandidates) error {
	if len(c.GetCandidates()) > MaxCandidates || c.GetGeneration() > MaxGeneration {
		return fmt.Errorf("%w: %d candidates", ErrMalformed, len(c.GetCandidates()))
	}
	for _, s := range c.GetCandidates() {
		if s == "" || len(s) > MaxCandidate {
			return fmt.Errorf("%w: candidate of %d bytes", ErrMalformed, len(s))
		}
	}
	return nil
}
