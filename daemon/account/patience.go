package account

import "time"

const (
	// maxPatience bounds how long an account waits before it asks a server again
	// that refused it without proof: an hour of mail that comes late, against a
	// device that was really removed and asks for good.
	maxPatience = time.Hour
	// calm is how long a device must last before its replacement is no news.
	calm = time.Hour
)

// patience is how long to wait after what a server said without proof: longer
// each time, until it was well for longer than the last wait.
type patience struct {
	first, next time.Duration
	last        time.Time // of the last replacement
}

func newPatience(first time.Duration) *patience {
	return &patience{first: first, next: first}
}

// refused returns the wait after a connection that lasted so long was refused.
func (p *patience) refused(lasted time.Duration) time.Duration {
	if lasted > p.next {
		p.next = p.first
	}
	d := p.next
	p.next = min(2*p.next, max(maxPatience, p.first))
	return d
}

// replaced returns the wait after a device was replaced: none, if the one before
// it lasted.
func (p *patience) replaced(now time.Time) time.Duration {
	before := p.last
	p.last = now
	if before.IsZero() || now.Sub(before) >= calm {
		return 0
	}
	return p.refused(0)
}
