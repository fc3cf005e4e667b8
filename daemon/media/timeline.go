package media

import (
	"sync"
	"time"

	"github.com/pion/rtcp"
)

const (
	// reportWait is how long frames wait for the first sender report; without
	// one, the time of arrival has to do.
	reportWait = 1500 * time.Millisecond
	// clockSet is from when on a difference is no delay of the sender.
	clockSet = time.Second
	// ahead is how much later than its arrival a frame may claim to be: what a
	// peer writes into a report must not grow a file without bound.
	ahead = 5 * time.Second
	// ntpEpoch is 1970 in the seconds of NTP (RFC 5905).
	ntpEpoch = 2208988800
)

// timeline puts the streams of a peer on one axis: the sender's clock, zero at
// the first frame that was taken.
type timeline struct {
	mu    sync.Mutex
	set   bool
	zero  time.Time // guarded by mu: the sender's time of zero
	began time.Time // guarded by mu: our time of it
}

// place returns when a frame is shown that the sender made at a time and that
// is here now.
func (t *timeline) place(made, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.set {
		t.set, t.zero, t.began = true, made, now
	}
	at := made.Sub(t.zero)
	return max(0, min(at, now.Sub(t.began)+ahead))
}

// clock maps the RTP timestamps of one stream to the sender's time (RFC 3550,
// section 6.4.1). It belongs to the goroutine of its stream, reports come from
// another.
type clock struct {
	rate uint32

	mu      sync.Mutex
	known   bool      // guarded by mu
	guessed bool      // guarded by mu: no report came in time
	anchor  time.Time // guarded by mu
	rtp     uint32    // guarded by mu: the timestamp at anchor
}

// report takes a sender report. A sender that was held up writes packets late,
// and its reports then say that its timestamps were made late: the earliest
// report is the truest, unless the sender's clock was set.
func (c *clock) report(r *rtcp.SenderReport) {
	at := ntpTime(r.NTPTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && !c.guessed {
		if off := at.Sub(c.timeLocked(r.RTPTime)); off >= 0 && off < clockSet {
			return
		}
	}
	c.known, c.guessed, c.anchor, c.rtp = true, false, at, r.RTPTime
}

// guess stands in for a report that did not come: the packet was made now.
func (c *clock) guess(timestamp uint32, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.known, c.guessed, c.anchor, c.rtp = true, true, now, timestamp
	}
}

// at is the sender's time of a timestamp; false before there was a report.
func (c *clock) at(timestamp uint32) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timeLocked(timestamp), c.known
}

func (c *clock) timeLocked(timestamp uint32) time.Time {
	ticks := int64(int32(timestamp - c.rtp))
	return c.anchor.Add(time.Duration(ticks) * time.Second / time.Duration(c.rate))
}

// ntpTime reads a 64-bit NTP timestamp.
func ntpTime(n uint64) time.Time {
	fraction := time.Duration(uint64(uint32(n)) * uint64(time.Second) >> 32)
	return time.Unix(int64(n>>32)-ntpEpoch, int64(fraction))
}
