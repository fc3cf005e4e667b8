package relay

import (
	"context"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

const (
	// pingRounds is the number of rounds in one ping interval, which spreads the pings of all connections.
	pingRounds = 10
	// sweepPage bounds the rows of one sweep transaction.
	sweepPage = 500
)

// upkeep is the relay's periodic work.
type upkeep struct {
	relay   *Relay
	revoked int64 // last row of the revocations
	noticed int64 // last row of the notices
}

// init records the current position of revocations and notices. Devices that connect later are checked then.
func (u *upkeep) init(ctx context.Context) error {
	for {
		page, err := u.relay.store.Revocations(ctx, u.revoked)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		u.revoked = page[len(page)-1].Row
	}
	for {
		_, last, err := u.relay.store.Noticed(ctx, u.noticed)
		if err != nil || last == u.noticed {
			return err
		}
		u.noticed = last
	}
}

// every calls f at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// pings keeps connections alive and ends silent ones.
func (u *upkeep) pings(ctx context.Context) {
	r := u.relay
	every(ctx, max(time.Millisecond, r.limits.Ping/pingRounds), func() {
		now := r.since()
		r.mu.Lock()
		list := make([]*socket, 0, len(r.sockets))
		for s := range r.sockets {
			list = append(list, s)
		}
		r.mu.Unlock()
		for _, s := range list {
			s.tick(now)
		}
		r.accounts.sweep()
	})
}

// polls looks for revocations and notices.
func (u *upkeep) polls(ctx context.Context) {
	r := u.relay
	every(ctx, r.limits.Revocations, func() {
		if err := u.poll(ctx); err != nil {
			if ctx.Err() == nil {
				r.log.Error("poll revocations", "error", err)
			}
			return
		}
		r.lastPoll.Store(int64(r.since()))
	})
}

func (u *upkeep) poll(ctx context.Context) error {
	r := u.relay
	page, err := r.store.Revocations(ctx, u.revoked)
	if err != nil {
		return err
	}
	revoked := make(map[key.DeviceID]struct{}, len(page))
	accounts := make(map[string]struct{})
	for _, rev := range page {
		u.revoked = rev.Row
		revoked[rev.Device] = struct{}{}
		r.dir.forgetAccount(rev.Account)
		accounts[rev.Account] = struct{}{}
	}
	for name := range accounts {
		// Without its last device the account may be deleted, and with it all its relations.
		info, err := r.dir.account(ctx, name, true)
		if err == nil && info.exists {
			continue
		}
		r.dir.forgetRelationsOf(name)
		r.presence.accountChanged(name)
	}
	if len(revoked) > 0 {
		r.endAll(func(s *socket) bool { _, ok := revoked[s.device]; return ok }, wire.Reason_REASON_REVOKED)
	}
	for more := true; more && ctx.Err() == nil; {
		// An error does not end the poll: a full disk must not hide revocations.
		if more, err = r.store.DropMail(ctx, r.now(), sweepPage); err != nil && ctx.Err() == nil {
			r.log.Error("drop mail of devices that are gone", "error", err)
		}
	}
	ids, last, err := r.store.Noticed(ctx, u.noticed)
	if err != nil {
		return err
	}
	u.noticed = last
	for _, id := range ids {
		r.wake(id)
		if err := r.bus.Wake(ctx, id); err != nil {
			r.log.Warn("bus", "error", err) // the hint is lost; the device gets the mail when it next connects
		}
	}
	return nil
}

// flushes writes step counts to the store periodically.
func (u *upkeep) flushes(ctx context.Context) {
	r := u.relay
	every(ctx, r.limits.StepsFlush, func() {
		all := r.devices.all()
		r.flushSteps(all)
		for _, d := range all {
			d.release()
		}
	})
}

// flushSteps stores the step counts that have grown.
func (r *Relay) flushSteps(devices []*device) {
	grown := make(map[key.DeviceID]uint64)
	for _, d := range devices {
		d.mu.Lock()
		if d.steps > d.flushedSteps {
			grown[d.id] = d.steps
		}
		d.mu.Unlock()
	}
	if len(grown) == 0 {
		return
	}
	if err := r.store.RaiseSteps(context.Background(), grown); err != nil {
		r.log.Error("store step counts", "error", err)
		return
	}
	for _, d := range devices {
		d.mu.Lock()
		d.flushedSteps = max(d.flushedSteps, grown[d.id])
		d.mu.Unlock()
	}
}

// sweeps removes expired envelopes periodically, unless the clock is not trusted.
func (u *upkeep) sweeps(ctx context.Context) {
	r := u.relay
	every(ctx, r.limits.Sweep, func() {
		if now := r.now(); !r.held() {
			u.sweep(ctx, now)
		}
	})
}

func (u *upkeep) sweep(ctx context.Context, now time.Time) {
	r := u.relay
	for ctx.Err() == nil {
		gone, err := r.store.TakeExpired(ctx, now, sweepPage)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Error("sweep mailboxes", "error", err)
			}
			return
		}
		for i := range gone {
			m := &gone[i]
			r.passed(Expired, m, 0, now)
			if m.Class == store.ClassDurable {
				r.counters.expired.Add(1)
			}
		}
		if len(gone) < sweepPage {
			return
		}
	}
}
