package media

import (
	"sync"
	"time"

	"github.com/pion/rtcp"
)

const (
	// reportWait is how long frames wait for the first sender report. Without one, the time
	// of arrival is used.
	reportWait = 1500 * time.Millisecond
	// clockSet is the difference from which on the sender's clock must have been set.
	clockSet = time.Second
	// ahead bounds how far after its arrival a frame's time may be: times in the peer's
	// reports must not make a file grow without bound.
	ahead = 5 * time.Second
	// ntpEpoch is the start of 1970 in NTP seconds (RFC 5905).
	ntpEpoch = 2208988800
)

// timeline maps the peer's streams to one time axis: the sender's clock, with zero at the
// first received frame.
type timeline struct {
	mu    sync.Mutex
	set   bool
	zero  time.Time // sender's time at zero; guarded by mu
	began time.Time // local time at zero; guarded by mu
}

// place returns the presentation time of a frame that was created at the sender's time made
// and has arrived now.
func (t *timeline) place(made, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.set {
		t.set, t.zero, t.began = true, made, now
	}
	at := made.Sub(t.zero)
	return max(0, min(at, now.Sub(t.began)+ahead))
}

// clock maps the RTP timestamps of one stream to the sender's time (RFC 3550, section
// 6.4.1). It belongs to its stream's goroutine; reports come from another one.
type clock struct {
	rate uint32

	mu      sync.Mutex
	known   bool      // guarded by mu
	guessed bool      // there was no report in time; guarded by mu
	anchor  time.Time // guarded by mu
	rtp     uint32    // timestamp at anchor; guarded by mu
}

// report applies a sender report. If the sender was delayed, its timestamps appear late in
// its reports. So the earliest report is the most accurate, unless the sender's clock was
// set.
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

// guess replaces a missing report: it assumes that the packet was created now.
func (c *clock) guess(timestamp uint32, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.known, c.guessed, c.anchor, c.rtp = true, true, now, timestamp
	}
}

// at returns the sender's time for a timestamp. It returns false before the first report.
func (c *clock) at(timestamp uint32) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timeLocked(timestamp), c.known
}

func (c *clock) timeLocked(timestamp uint32) time.Time {
	ticks := int64(int32(timestamp - c.rtp))
	return c.anchor.Add(time.Duration(ticks) * time.Second / time.Duration(c.rate))
}

// ntpTime converts a 64-bit NTP timestamp.
func ntpTime(n uint64) time.Time {
	fraction := time.Duration(uint64(uint32(n)) * uint64(time.Second) >> 32)
	return time.Unix(int64(n>>32)-ntpEpoch, int64(fraction))
}
