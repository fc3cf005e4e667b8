package engine

import (
	"time"

	"secmsg/daemon/store"
	"secmsg/daemon/trust"
)

// keysFollow is how long messages wait for the keys of a device that was added. The
// device uploads them as soon as it is connected.
const keysFollow = 24 * time.Hour

// lacking returns a need if sessions must be started first. Devices that are known
// to have no bundle are left out for a while.
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

// keysWillCome reports how long a message waits for keys of its recipient: no
// device has keys to start a session with, and one of them was added recently. A
// device is listed a moment before its keys are at the server, and later if it was
// stopped between the two. Unusable keys are not waited for. 0: the message is
// sealed now, and devices without keys count as rejected.
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
