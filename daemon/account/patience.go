package account

import (
	"time"

	"secmsg/rpc/backoff"
)

const (
	// maxPatience bounds the wait after a refusal without proof. It delays mail by
	// up to an hour, and limits the requests of a device that really was removed.
	maxPatience = time.Hour
	// calm is how long a device must last so that its replacement starts the waits
	// anew.
	calm = time.Hour
)

// patience is how long an account waits after a refusal that the server did not
// prove. Each wait is twice as long as the last, until a connection outlasts it.
type patience struct {
	waits backoff.Backoff
	tries int
	last  time.Time // of the last replacement
}

func newPatience(first time.Duration) *patience {
	return &patience{waits: backoff.New(first, max(maxPatience, first))}
}

// refused returns the wait after the server ended a connection that lasted this long.
func (p *patience) refused(lasted time.Duration) time.Duration {
	if lasted > p.waits.Interval(p.tries) {
		p.tries = 0
	}
	d := p.waits.Interval(p.tries)
	p.tries++
	return d
}

// replaced returns the wait after a replacement: 0 if the previous device lasted.
func (p *patience) replaced(now time.Time) time.Duration {
	before := p.last
	p.last = now
	if before.IsZero() || now.Sub(before) >= calm {
		return 0
	}
	return p.refused(0)
}
