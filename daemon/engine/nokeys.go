package engine

import (
	"time"

	"secmsg/daemon/store"
	"secmsg/daemon/trust"
)

// keysFollow is how long after a device was added its keys are waited for. It uploads
// them as soon as it is connected.
const keysFollow = 24 * time.Hour

// lacking returns a need if a session must be started first. Devices that are
// known to have no bundle are not asked for again for a while.
func (b *sealing) lacking(targets []sealTarget, peer store.PeerID, user string) (*need, error) {
	n := need{peer: peer, user: user}
	for _, t := range targets {
		has, err := b.hasSession(t.Peer, t.Device.ID)
		if err != nil {
			return nil, err
		}
		if !has && !b.e.asking.peer(peer).lacks(t.Device.ID, time.Now()) {
			n.bundles = append(n.bundles, t.Device.ID)
		}
	}
	if len(n.bundles) == 0 {
		return nil, nil
	}
	return &n, nil
}

// keysWillCome reports how long a message waits because no device of its recipient
// has keys to start a session with and one of them was added not long ago: a device
// is listed a moment before its keys are at the server, and later if it was stopped
// between the two. Keys that are there and of no use are not waited for. 0: it is
// sealed now, and what has no keys counts as rejected.
func (b *sealing) keysWillCome(targets []sealTarget, to trust.Target) (time.Duration, error) {
	if len(targets) < len(to.Devices) {
		return 0, nil
	}
	wait := time.Duration(0)
	for _, t := range targets {
		has, err := b.hasSession(t.Peer, t.Device.ID)
		if has || err != nil {
			return 0, err
		}
		if b.e.asking.peer(t.Peer).noKeys[t.Device.ID].bad || b.e.profileTime().Sub(t.Device.Added) >= keysFollow {
			continue
		}
		if d := time.Until(b.e.asking.peer(t.Peer).noKeys[t.Device.ID].until); wait == 0 || d < wait {
			wait = max(d, b.e.cfg.BackoffMin)
		}
	}
	return wait, nil
}
