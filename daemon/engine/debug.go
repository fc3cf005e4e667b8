package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// maxDebug bounds each list of Debug.
const maxDebug = 1000

// Debug describes what the account is waiting for.
func (e *Engine) Debug(ctx context.Context) (local.DebugAccount, error) {
	counts, err := e.Counts(ctx)
	if err != nil {
		return local.DebugAccount{}, err
	}
	out, err := inActor(ctx, e, func() (local.DebugAccount, error) {
		now := time.Now()
		out := local.DebugAccount{
			Address: e.self.String(), Up: e.up, Loaded: e.loaded, InFlight: e.window.active, Window: e.cfg.Window,
			Paused: until(e.window.pause, now), Tasks: []local.DebugTask{}, Counts: occurred(counts), Pairs: e.window.debug(now),
		}
		for t, when := range e.tasks {
			out.Tasks = append(out.Tasks, local.DebugTask{Name: string(t), In: until(when, now)})
		}
		slices.SortFunc(out.Tasks, func(a, b local.DebugTask) int { return cmp.Or(cmp.Compare(a.In, b.In), cmp.Compare(a.Name, b.Name)) })
		peers, err := inView(ctx, e, func(tx *store.Tx) ([]local.DebugPeer, error) { return e.asking.debug(tx, now) })
		out.Peers = peers
		return out, err
	})
	return out, err
}

// occurred returns the counts that are not zero.
func occurred(counts map[string]int64) map[string]int64 {
	maps.DeleteFunc(counts, func(_ string, n int64) bool { return n == 0 })
	return counts
}

// until returns the seconds until a time; 0 if it is past.
func until(t, now time.Time) float64 { return max(0, t.Sub(now).Round(time.Millisecond).Seconds()) }

// debug describes the pairs, those with the most envelopes first.
func (w *window) debug(now time.Time) []local.DebugPair {
	out := []local.DebugPair{}
	for k, p := range w.pairs {
		d := local.DebugPair{
			Device: key.DeviceID(k.device).String(), Waiting: len(p.flights), InFlight: p.inFlight, Tries: p.tries, Full: p.full,
		}
		if len(p.flights) > 0 {
			d.Peer = p.flights[0].user
		}
		if p.blocked {
			d.Blocked, d.RetryIn = reasonText(p.why), until(p.until, now)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b local.DebugPair) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Device, b.Device))
	})
	return out[:min(len(out), maxDebug)]
}

// debug describes the peers that are asked for, in the order of their addresses.
func (a *asking) debug(tx *store.Tx, now time.Time) ([]local.DebugPeer, error) {
	out := []local.DebugPeer{}
	for id, p := range a.peers {
		if len(out) == maxDebug {
			break
		}
		name, err := history.PeerName(tx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, local.DebugPeer{
			Peer: name, Asking: p.busy, RetryIn: until(p.notBefore, now), Tries: p.tries, Refresh: p.refresh, WithoutKeys: len(p.noKeys),
		})
	}
	slices.SortFunc(out, func(a, b local.DebugPeer) int { return cmp.Compare(a.Peer, b.Peer) })
	return out, nil
}

// reasonText names a reason of the relay in logs and in Debug: "quota" for REASON_QUOTA.
func reasonText(r wire.Reason) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "REASON_"))
}
