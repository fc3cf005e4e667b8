package engine

import (
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/backoff"
	"secmsg/rpc/e2e"
)

// maxRetryFactor bounds how much longer than Config.RetryEvery a message that did not
// open waits before its sender is asked again: with the default, 43 hours.
const maxRetryFactor = 256

// askAgain asks the senders of messages that did not open to seal them again:
// inside a new session, at most one per device and hour, else inside the present
// one. The device that sealed a message is asked first, then in turn the other
// devices of its account. A removed device is not asked.
func (e *Engine) askAgain() error {
	type question struct {
		list    []store.Parked
		devices map[store.PeerID][]key.DeviceID // that may be asked
	}
	q, err := inView(e.storeCtx(), e, func(tx *store.Tx) (q question, err error) {
		q.devices = make(map[store.PeerID][]key.DeviceID)
		if q.list, err = tx.ParkedToAsk(e.account, e2e.MaxIDs); err != nil {
			return q, err
		}
		for _, p := range q.list {
			if _, known := q.devices[p.Peer]; known {
				continue
			}
			if q.devices[p.Peer], err = e.askable(tx, p.Peer); err != nil {
				return q, err
			}
		}
		return q, nil
	})
	if err != nil {
		return err
	}
	now := e.profileTime()
	// The wait is computed at each look, so it has no random part.
	again := backoff.New(e.cfg.RetryEvery, e.cfg.RetryEvery*maxRetryFactor)
	due := make(map[pairKey][]store.Parked)
	for _, p := range q.list {
		wait := time.Duration(0)
		if p.AskedMS > 0 {
			wait = time.UnixMilli(p.AskedMS).Add(again.Interval(p.Asks - 1)).Sub(now)
		}
		if wait > 0 {
			e.schedule(taskAskAgain, wait)
			continue
		}
		k := pairKey{peer: p.Peer, device: whomToAsk(p, q.devices[p.Peer])}
		if len(due[k]) < e2e.MaxIDs {
			due[k] = append(due[k], p)
		} else {
			e.schedule(taskAskAgain, e.cfg.BackoffMin)
		}
	}
	for k, parked := range due {
		if err := e.askDevice(k, parked); err != nil && store.DamagedValue(err) == nil {
			return err
		}
	}
	return nil
}

// askable returns the devices of a peer that may be asked, none if the peer is
// unknown or not trusted now.
func (e *Engine) askable(tx *store.Tx, peer store.PeerID) ([]key.DeviceID, error) {
	to, err := e.trust.CheckSend(tx, e.account, peer, false, e.now())
	if err != nil {
		if store.Failed(err) {
			return nil, err
		}
		return nil, nil
	}
	var out []key.DeviceID
	for _, d := range to.Devices {
		out = append(out, d.ID)
	}
	return out, nil
}

// whomToAsk returns the device to ask for a message this time: first the one that
// sealed it, as long as it is listed, then the others in turn.
func whomToAsk(p store.Parked, listed []key.DeviceID) key.DeviceID {
	if len(listed) == 0 {
		return p.Device
	}
	order := make([]key.DeviceID, 0, len(listed))
	for _, d := range listed {
		if d == p.Device {
			order = append([]key.DeviceID{d}, order...)
		} else {
			order = append(order, d)
		}
	}
	return order[p.Asks%len(order)]
}

// askDevice asks one device. Without a connection it waits for one.
func (e *Engine) askDevice(k pairKey, parked []store.Parked) error {
	if !e.up {
		return nil // Up makes it due
	}
	type session struct {
		exists  bool
		rebuilt int64 // when it was built anew for a request; Unix milliseconds, 0: never
		user    string
	}
	s, err := inView(e.storeCtx(), e, func(tx *store.Tx) (s session, err error) {
		if s.rebuilt, err = tx.Rebuilt(e.account, k.peer, k.device); err != nil {
			return s, err
		}
		if s.exists, err = e.keys.HasSession(tx, e.account, k.peer, k.device); err != nil {
			return s, err
		}
		addr, err := e.address(tx, k.peer)
		s.user = addr.User
		return s, err
	})
	if err != nil {
		return err
	}
	now := e.profileTime()
	next := time.UnixMilli(s.rebuilt).Add(e.cfg.RebuildEvery).Sub(now)
	switch {
	case s.rebuilt > 0 && next > 0 && s.exists:
		return e.update(func(tx *store.Tx) error { return e.requestRetry(tx, k, parked) })
	case s.rebuilt > 0 && next > 0:
		e.schedule(taskAskAgain, next)
		return nil
	}
	p := e.asking.peer(k.peer)
	if p.busy || p.notBefore.After(time.Now()) {
		e.schedule(taskAskAgain, e.cfg.BackoffMin)
		return nil
	}
	if err := e.askedStranger(k.peer, parked); err != nil {
		return err
	}
	p.busy = true
	e.fetchBundles(need{peer: k.peer, user: s.user, bundles: []key.DeviceID{k.device}}, func(tx *store.Tx, started []key.DeviceID) error {
		if len(started) == 0 {
			tx.OnCommit(func() { e.schedule(taskAskAgain, e.cfg.NoKeysFor) })
			return nil
		}
		if err := tx.SetRebuilt(e.account, k.peer, k.device, e.profileTime().UnixMilli()); err != nil {
			return err
		}
		return e.requestRetry(tx, k, parked)
	})
	e.schedule(taskAskAgain, e.cfg.BackoffMax)
	return nil
}

// askedStranger counts a request to a sender without a single envelope that opened,
// even if the account turns out not to exist. A server can invent many such
// senders, so each is asked less and less often.
func (e *Engine) askedStranger(peer store.PeerID, parked []store.Parked) error {
	return e.update(func(tx *store.Tx) error {
		stranger, err := tx.Stranger(e.account, peer)
		if err != nil || !stranger {
			return err
		}
		for _, p := range parked {
			if err := tx.ParkedAsked(p, e.profileTime().UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
}

// requestRetry queues the request for the messages that are still missing.
func (e *Engine) requestRetry(tx *store.Tx, k pairKey, parked []store.Parked) error {
	var ids [][]byte
	named := make(map[store.MessageID]bool) // two devices may have sealed one message
	for _, p := range parked {
		seen, err := tx.Seen(e.account, p.Peer, p.ID)
		if err != nil {
			return err
		}
		if seen {
			if err := tx.DeleteParked(p.Ord); err != nil {
				return err
			}
			continue
		}
		if err := tx.ParkedAsked(p, e.profileTime().UnixMilli()); err != nil {
			return err
		}
		if !named[p.ID] {
			named[p.ID] = true
			ids = append(ids, p.ID[:])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	tx.OnCommit(func() { e.schedule(taskAskAgain, e.cfg.RetryEvery) })
	return e.control(tx, k.peer, k.device[:], &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: &e2e.Retry{MessageIds: ids}}})
}
