package wire

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds of numbers sent by a server. Numbers that a client computes with stay within them, so that no
// time or delay overflows, and all can be displayed.
const (
	// MaxTime is the latest valid time in Unix milliseconds: the end of the year 9999, the last year
	// that RFC 3339 can represent.
	MaxTime = 253_402_300_799_999
	// MaxRetryAfter bounds how long a server can ask a client to wait.
	MaxRetryAfter = 15 * time.Minute
	// MaxManifests bounds the manifests of one answer.
	MaxManifests = 50
	// maxStock bounds a server's count of prekeys: more than any account uploads.
	maxStock = 1_000_000
	// maxBlobSize bounds a blob in bytes: all its parts at their largest.
	maxBlobSize = MaxBlobParts * BlobPartSize
	// maxDownloads bounds a count of downloads, so that adding to it does not overflow.
	maxDownloads = 1 << 40
)

// errNumber means that a number is out of bounds.
var errNumber = errors.New("number out of bounds")

// inRange returns an error unless v is between 0 and limit.
func inRange[N int | int64](what string, v, limit N) error {
	if v < 0 || v > limit {
		return fmt.Errorf("%s %d: %w", what, v, errNumber)
	}
	return nil
}

func validTime(what string, ms int64) error { return inRange(what, ms, MaxTime) }

// Answer is the response to a REST call that contains numbers. Whoever decodes one must call Check
// before using any of them.
type Answer interface{ Check() error }

// Check bounds the numbers of a Realm.
func (r *Realm) Check() error { return validTime("time_ms", r.TimeMS) }

// Check bounds the numbers of a Challenged.
func (c *Challenged) Check() error { return validTime("expires_ms", c.ExpiresMS) }

// Check bounds the numbers of a Token.
func (t *Token) Check() error {
	return errors.Join(validTime("expires_ms", t.ExpiresMS), validTime("time_ms", t.TimeMS))
}

// Check bounds a list of Manifests.
func (m *Manifests) Check() error { return inRange("manifests", len(m.Manifests), MaxManifests) }

// Check bounds the number of Bundles.
func (b *Bundles) Check() error { return inRange("devices", len(b.Devices), MaxDevices) }

// Check bounds the numbers of a PrekeyCount.
func (p *PrekeyCount) Check() error {
	return errors.Join(
		validTime("signed_expires_ms", p.SignedExpiresMS), validTime("last_resort_expires_ms", p.LastResortExpiresMS),
		inRange("one_time_exchange", p.OneTimeExchange, maxStock), inRange("one_time_kem", p.OneTimeKEM, maxStock),
	)
}

// Check bounds the numbers of a Blob.
func (b *Blob) Check() error {
	err := errors.Join(
		inRange("size", b.Size, maxBlobSize), validTime("expires_ms", b.ExpiresMS),
		inRange("max_size", b.MaxSize, math.MaxInt64), inRange("downloads", b.Downloads, maxDownloads), inRange("parts", len(b.Parts), MaxBlobParts),
	)
	for _, p := range b.Parts {
		err = errors.Join(err, inRange("number", p.Number, MaxBlobParts), inRange("size", p.Size, BlobPartSize))
	}
	return err
}

// Check bounds the numbers of a BlobTicketList.
func (l *BlobTicketList) Check() error {
	err := inRange("tickets", len(l.Tickets), MaxBlobTickets)
	for i := range l.Tickets {
		err = errors.Join(err, l.Tickets[i].check())
	}
	return err
}

func (t *BlobTicket) check() error {
	return errors.Join(inRange("number", t.Number, MaxBlobParts), validTime("expires_ms", t.ExpiresMS))
}

// Check bounds the numbers of a BlobDownload.
func (d *BlobDownload) Check() error {
	return errors.Join(d.Ticket.check(), inRange("size", d.Size, maxBlobSize), validTime("expires_ms", d.ExpiresMS))
}

// Check bounds the numbers of TurnCredentials.
func (t *TurnCredentials) Check() error { return validTime("expires_ms", t.ExpiresMS) }

// Check bounds the numbers in a server's frame, except those of an Envelope: a sender chose some of
// them, and one envelope must not end the connection. The reader of an envelope uses KnownTime instead.
func (f *ContactServer) Check() error {
	switch {
	case f.GetIssued() != nil:
		return validTime("time_ms", f.GetIssued().GetTimeMs())
	case f.GetStale() != nil:
		return inRange("manifests", len(f.GetStale().GetManifests()), MaxManifests)
	case f.GetPresence() != nil:
		return inRange("states", len(f.GetPresence().GetStates()), MaxSubscribe)
	}
	return nil
}

// Check bounds the numbers of a ReplicaServer.
func (f *ReplicaServer) Check() error {
	if f.GetOpened() != nil {
		return validTime("time_ms", f.GetOpened().GetTimeMs())
	}
	return nil
}

// KnownTime returns ms if it is a valid time, else 0 for "not known".
func KnownTime(ms int64) int64 {
	if ms < 0 || ms > MaxTime {
		return 0
	}
	return ms
}

// Wait returns the delay that a server asks for, from 0 to MaxRetryAfter.
func Wait(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), MaxRetryAfter.Milliseconds())) * time.Millisecond
}

// WaitSeconds is Wait for any number of seconds, including invalid ones.
func WaitSeconds(s float64) time.Duration {
	limit := MaxRetryAfter.Seconds()
	if !(s > 0) { // also false for NaN
		return 0
	}
	return time.Duration(min(s, limit) * float64(time.Second))
}
