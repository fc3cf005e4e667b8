package relay

import (
	"sync"

	"secmsg/crypto/key"
)

// maxPairs bounds the pairs that one connection can have refused; a client that
// has so many is told to come again, which starts all pairs anew.
const maxPairs = 4096

// pair is the go-back-N state of one sending connection towards one device.
//
//	open --(temporary refusal of m)--> blocked(m) --(m comes again, or resume)--> open
type pair struct {
	blocked bool
	id      [16]byte // the message that must come first
	gen     uint32   // counts refusals of envelopes that were under way
}

// pairs holds the pairs of one connection that were ever refused for a time.
type pairs struct {
	mu sync.Mutex // guards m
	m  map[key.DeviceID]*pair
}

// admit reports whether an envelope may pass, and the generation it belongs to.
// resume says that the sender has given up what was refused.
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

// block records a temporary refusal at admission: nothing later is under way yet.
func (p *pairs) block(to key.DeviceID, id [16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.get(to)
	if st == nil || st.blocked {
		return
	}
	st.blocked, st.id = true, id
}

// outdated reports whether an earlier envelope of the pair was refused since it was admitted.
func (p *pairs) outdated(it *item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.m[it.to.id]
	return st != nil && st.gen != it.gen
}

// refused records a temporary refusal of an envelope that was under way. It
// reports whether this is the one that the sender starts again from; the others
// only follow it.
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

// get returns the pair's state, made if need be; nil when there are too many.
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

// full reports whether no further pair could be blocked.
func (p *pairs) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.m) >= maxPairs
}
