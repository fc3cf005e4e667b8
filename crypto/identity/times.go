package identity

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// maxUnix is the last second of the year 9999, the latest time that X.509 can express; no structure
// contains a later one.
const maxUnix = 253402300799

// seconds returns t as it is encoded: whole seconds, UTC.
func seconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0).UTC() }

// addTime adds t as Unix seconds in eight bytes.
func addTime(b *cryptobyte.Builder, t time.Time) {
	u := t.Unix()
	if u < 0 || u > maxUnix {
		b.SetError(fmt.Errorf("time out of range: %w", ErrFormat))
		return
	}
	b.AddUint64(uint64(u))
}

// readTime is the inverse of addTime.
func readTime(s *cryptobyte.String, out *time.Time) bool {
	var u uint64
	if !s.ReadUint64(&u) || u > maxUnix {
		return false
	}
	*out = time.Unix(int64(u), 0).UTC()
	return true
}

// within returns nil if at is between two times, both included.
func within(at, notBefore, notAfter time.Time) error {
	switch {
	case at.Before(notBefore):
		return fmt.Errorf("valid from %s: %w", notBefore.UTC().Format(time.RFC3339), ErrNotYetValid)
	case at.After(notAfter):
		return fmt.Errorf("valid until %s: %w", notAfter.UTC().Format(time.RFC3339), ErrExpired)
	}
	return nil
}
