package engine

import (
	"maps"
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/backoff"
)

// asking is the memory of the actor about peers while it asks the server about
// them: running questions and pauses after failures (peers), look-ups of device
// manifests (claims), and the answers to devices that asked for messages again
// (reseals). It belongs to the actor and is lost with it.
type asking struct {
	cfg     Config
	peers   map[store.PeerID]*peerState
	claims  claims
	reseals reseals
}

func newAsking(cfg Config) *asking {
	return &asking{cfg: cfg, peers: make(map[store.PeerID]*peerState), claims: newClaims(), reseals: newReseals()}
}

// peerState is the memory of the actor about one peer between two tries.
type peerState struct {
	busy      bool      // a worker asks the server about it
	notBefore time.Time // the next try after a failure
	tries     int
	refresh   bool // its manifest must be fetched before the next message is sealed
	noKeys    map[key.DeviceID]absence
}

// absence is a device that had no usable bundle. It is asked for again after
// until, later each time: a device that has just joined is found soon, and one that
// stays away does not use up the relay's rate for bundles.
type absence struct {
	until time.Time
	tries int
	bad   bool // the server gave out keys of another device, or keys that cannot be used
}

// peer returns the state of a peer, which it creates if necessary.
func (a *asking) peer(id store.PeerID) *peerState {
	p := a.peers[id]
	if p == nil {
		p = &peerState{noKeys: make(map[key.DeviceID]absence)}
		a.peers[id] = p
	}
	return p
}

// failed puts off a peer after a failure and returns for how long. wish is the
// server's own demand.
func (a *asking) failed(p *peerState, wish time.Duration, now time.Time) time.Duration {
	d := a.cfg.backoff(p.tries, wish)
	p.tries++
	p.notBefore = now.Add(d)
	return d
}

// ready ends the pause of a peer.
func (p *peerState) ready() { p.notBefore, p.tries = time.Time{}, 0 }

// hurry ends all pauses of a peer.
func (p *peerState) hurry() {
	p.ready()
	clear(p.noKeys)
}

// lacks reports whether a device is known to have no keys for now.
func (p *peerState) lacks(id key.DeviceID, now time.Time) bool { return p.noKeys[id].until.After(now) }

// absent records that a device had no usable bundle. bad: it had one that cannot be
// used. The wait has no random part: the longest is the time in which the relay allows
// one more question, and a question that comes earlier pauses the whole peer.
func (a *asking) absent(p *peerState, id key.DeviceID, bad bool, now time.Time) {
	old := p.noKeys[id]
	d := backoff.New(a.cfg.BackoffMin, a.cfg.NoKeysFor).Interval(old.tries)
	p.noKeys[id] = absence{until: now.Add(d), tries: old.tries + 1, bad: bad}
}

// connected ends the pauses of all peers.
func (a *asking) connected() {
	for _, p := range a.peers {
		p.ready()
	}
}

// except returns the peers that must not be tried now. wait is the time until the
// first of them may, 0 if that is not known.
func (a *asking) except(now time.Time) (out []store.PeerID, wait time.Duration) {
	for id, p := range a.peers {
		if !p.busy && !p.notBefore.After(now) {
			continue
		}
		out = append(out, id)
		if d := p.notBefore.Sub(now); !p.busy && d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	return out, wait
}

// sweep forgets the peers of whom nothing needs to be remembered.
func (a *asking) sweep(now time.Time) {
	for id, p := range a.peers {
		maps.DeleteFunc(p.noKeys, func(_ key.DeviceID, x absence) bool { return x.until.Before(now) })
		if !p.busy && !p.refresh && p.notBefore.Before(now) && len(p.noKeys) == 0 {
			delete(a.peers, id)
		}
	}
	a.claims.forget()
}

const (
	// resealsPerHour bounds how often one envelope is sealed again for a device
	// that asks.
	resealsPerHour = 3
	// maxReseals bounds how many different envelopes are counted in an hour, and
	// with it the memory of the counts.
	maxReseals = 10_000
)

// reseals counts, for each envelope, how often it was sealed again this hour.
type reseals struct {
	counts map[flightKey]int
	since  time.Time
}

func newReseals() reseals { return reseals{counts: make(map[flightKey]int)} }

// admit counts a request for an envelope and reports whether it may be sealed
// again. waiting means that a request of this hour is still being answered: then
// nothing is counted and nothing needs to be sealed. undo takes the count back.
func (r *reseals) admit(k flightKey, pending bool, now time.Time) (ok, waiting bool, undo func()) {
	if now.Sub(r.since) >= time.Hour {
		clear(r.counts)
		r.since = now
	}
	n := r.counts[k]
	switch {
	case pending && n > 0:
		return true, true, nil
	case n >= resealsPerHour || n == 0 && len(r.counts) >= maxReseals:
		return false, false, nil
	}
	r.counts[k]++
	return true, false, func() {
		if r.counts[k]--; r.counts[k] <= 0 {
			delete(r.counts, k)
		}
	}
}
