package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// getPrekeys serves GET /v1/prekeys.
func (a *API) getPrekeys(ctx context.Context, _ *empty) (*answer[wire.PrekeyCount], error) {
	count, err := a.countPrekeys(ctx)
	if err != nil {
		return nil, err
	}
	return &answer[wire.PrekeyCount]{count}, nil
}

// putPrekeys serves PUT /v1/prekeys. Every key must be signed by the calling device. It stores the
// whole upload or nothing.
func (a *API) putPrekeys(ctx context.Context, in *body[wire.PutPrekeys]) (*answer[wire.StoredPrekeys], error) {
	c := callerOf(ctx)
	s, err := a.device(ctx, c.device)
	if err != nil {
		return nil, err
	}
	v := verifier{device: c.device, signing: s.signing, addr: identity.Address{User: c.account, Domain: a.opt.Domain}, now: a.opt.Now()}
	limit := a.opt.Limits.OneTimeKeys
	if len(in.Body.OneTimeExchange) > limit || len(in.Body.OneTimeKEM) > limit {
		return nil, refuse(wire.CodeQuota, "at most %d one-time keys of each kind are kept", limit)
	}
	p := store.Prekeys{
		Signed:          v.one("signed_prekey", identity.SignedExchange, in.Body.SignedPrekey),
		LastResort:      v.one("last_resort_kem", identity.LastResortKEM, in.Body.LastResortKEM),
		OneTimeExchange: v.many("one_time_exchange", identity.OneTimeExchange, in.Body.OneTimeExchange),
		OneTimeKEM:      v.many("one_time_kem", identity.OneTimeKEM, in.Body.OneTimeKEM),
	}
	if v.err != nil {
		return nil, v.err
	}
	kept, err := a.opt.Store.PutPrekeys(ctx, c.device, p, limit, a.opt.Now())
	if err != nil {
		switch {
		case errors.Is(err, store.ErrFull):
			return nil, refuse(wire.CodeQuota, "at most %d one-time keys of each kind are kept", limit)
		case errors.Is(err, store.ErrConflict):
			return nil, refuse(wire.CodeConflict, "a prekey id is in use")
		}
		return nil, fmt.Errorf("store prekeys: %w", err)
	}
	if in.Body.Steps > 0 {
		if err := a.opt.Store.RaiseSteps(ctx, map[key.DeviceID]uint64{c.device: in.Body.Steps}); err != nil {
			return nil, fmt.Errorf("raise steps: %w", err)
		}
	}
	count, err := a.countPrekeys(ctx)
	if err != nil {
		return nil, err
	}
	return &answer[wire.StoredPrekeys]{wire.StoredPrekeys{
		PrekeyCount:  count,
		KeptExchange: append([]uint32{}, kept.OneTimeExchange...), KeptKEM: append([]uint32{}, kept.OneTimeKEM...),
	}}, nil
}

func (a *API) countPrekeys(ctx context.Context) (wire.PrekeyCount, error) {
	n, err := a.opt.Store.CountPrekeys(ctx, callerOf(ctx).device, a.opt.Now())
	if err != nil {
		return wire.PrekeyCount{}, fmt.Errorf("count prekeys: %w", err)
	}
	return wire.PrekeyCount{
		SignedExpiresMS: millis(n.SignedExpires), LastResortExpiresMS: millis(n.LastResortExpires),
		OneTimeExchange: n.OneTimeExchange, OneTimeKEM: n.OneTimeKEM,
	}, nil
}

// millis returns Unix milliseconds, or 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// verifier checks uploaded prekeys and keeps the first error.
type verifier struct {
	device  key.DeviceID
	signing key.SigningPublic
	addr    identity.Address
	now     time.Time
	err     error
}

// one checks a prekey that may be absent.
func (v *verifier) one(field string, kind identity.PrekeyKind, data []byte) *store.Prekey {
	if len(data) == 0 || v.err != nil {
		return nil
	}
	p, err := identity.ParsePrekey(data)
	if err == nil {
		err = p.Verify(v.signing, v.device, v.addr, v.now)
	}
	switch {
	case err != nil:
		v.err = refuse(wire.CodeMalformed, "%s: %s", field, reason(err))
	case p.Kind != kind:
		v.err = refuse(wire.CodeMalformed, "%s: wrong kind of key", field)
	}
	if v.err != nil {
		return nil
	}
	return &store.Prekey{ID: p.ID, Public: data, Expires: p.Expires}
}

// many checks a list of prekeys with ids of their own.
func (v *verifier) many(field string, kind identity.PrekeyKind, list [][]byte) []store.Prekey {
	var out []store.Prekey
	seen := map[uint32]bool{}
	for _, data := range list {
		p := v.one(field, kind, data)
		if v.err != nil {
			return nil
		}
		if p == nil || seen[p.ID] {
			v.err = refuse(wire.CodeMalformed, "%s: an empty key or a repeated id", field)
			return nil
		}
		seen[p.ID] = true
		out = append(out, *p)
	}
	return out
}
