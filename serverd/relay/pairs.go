package relay

import (
	"sync"

	"secmsg/crypto/key"
)

// maxPairs bounds the blocked pairs of one connection. A client with more must reconnect, which resets all pairs.
const maxPairs = 4096

// pair is the go-back-N state of one sending connection towards one device.
//
//	open --(temporary refusal of m)--> blocked(m) --(m comes again, or resume)--> open
type pair struct {
	blocked bool
	id      [16]byte // the message that must come again first
	gen     uint32   // number of refusals after admission
}

// pairs holds the pairs of one connection that have had a temporary refusal.
type pairs struct {
	mu sync.Mutex // guards m
	m  map[key.DeviceID]*pair
}

// admit reports whether an envelope may pass, and its pair's generation. resume says that the sender has given up the
// refused envelope.
func (p *pairs) admit(to key.DeviceID, id [16]byte, resume bool) (ok bool, gen uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.m[to]
	if st == nil {
		return true, 0
	}
	if st.blocked && st.id != id && !resume {
		return false, st.gen
	}
	st.blocked = false
	return true, st.gen
}

// block records a temporary refusal at admission, when no later envelope of the pair is under way.
func (p *pairs) block(to key.DeviceID, id [16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.get(to)
	if st == nil || st.blocked {
		return
	}
	st.blocked, st.id = true, id
}

// outdated reports whether an earlier envelope of the pair was refused after this one was admitted.
func (p *pairs) outdated(it *item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.m[it.to.id]
	return st != nil && st.gen != it.gen
}

// refused records the temporary refusal of an admitted envelope. It returns true for the envelope from which the sender
// must start again, and false for those refused only because they follow it.
func (p *pairs) refused(it *item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.get(it.to.id)
	if st == nil {
		return true
	}
	if st.gen != it.gen {
		return false
	}
	st.gen++
	st.blocked, st.id = true, it.mail.MessageID
	return true
}

// get returns the pair's state, creating it if necessary. It returns nil when there are too many pairs.
func (p *pairs) get(to key.DeviceID) *pair {
	st := p.m[to]
	if st == nil && len(p.m) < maxPairs {
		if p.m == nil {
			p.m = make(map[key.DeviceID]*pair)
		}
		st = new(pair)
		p.m[to] = st
	}
	return st
}

// full reports whether no further pair can be blocked.
func (p *pairs) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.m) >= maxPairs
}
