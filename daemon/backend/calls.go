package backend

import (
	"context"

	"secmsg/crypto/identity"
	"secmsg/daemon/account"
	"secmsg/daemon/call"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// callsOf returns the call service of an account; a locked profile has no calls.
func (b *Backend) callsOf(name string) (*call.Service, error) {
	a, err := b.resolve(name)
	if err != nil {
		return nil, codes.Local(err)
	}
	return a.Calls(), nil
}

// StartCall implements localapi.Backend.
func (b *Backend) StartCall(ctx context.Context, p local.CallStartParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	c, err := b.callsOf(p.Account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := c.Start(ctx, p, s, events)
	return out, codes.Local(err)
}

// AnswerCall implements localapi.Backend.
func (b *Backend) AnswerCall(ctx context.Context, p local.CallAnswerParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	c, err := b.callsOf(p.Account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := c.Answer(ctx, p, s, events)
	return out, codes.Local(err)
}

// RejectCall implements localapi.Backend.
func (b *Backend) RejectCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return b.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Reject(ctx, p.ID) })
}

// HangupCall implements localapi.Backend.
func (b *Backend) HangupCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return b.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Hangup(ctx, p.ID) })
}

// MuteCall implements localapi.Backend.
func (b *Backend) MuteCall(ctx context.Context, p local.CallIDParams, on bool) (local.Call, error) {
	return b.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Mute(ctx, p.ID, false, on) })
}

// Camera implements localapi.Backend.
func (b *Backend) Camera(ctx context.Context, p local.CallCameraParams) (local.Call, error) {
	return b.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Mute(ctx, p.ID, true, !p.On) })
}

func (b *Backend) oneCall(account string, f func(c *call.Service) (local.Call, error)) (local.Call, error) {
	c, err := b.callsOf(account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := f(c)
	return out, codes.Local(err)
}

// CallStatus implements localapi.Backend.
func (b *Backend) CallStatus(ctx context.Context, account string) (local.Calls, error) {
	c, err := b.callsOf(account)
	if err != nil {
		return local.Calls{}, err
	}
	out, err := c.Status(ctx)
	return out, codes.Local(err)
}

// ListCalls implements localapi.Backend.
func (b *Backend) ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error) {
	var out local.Events
	err := b.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.ListCalls(ctx, p)
		return err
	})
	return out, err
}

// endCalls ends the calls with a peer whose signals are no longer taken: its own
// end would not be heard.
func (b *Backend) endCalls(ctx context.Context, a *account.Account, peer identity.Address) {
	if err := a.Calls().Unwanted(ctx, peer.String()); err != nil {
		b.logger.Info("cannot end the calls with a peer", "error", err)
	}
}

// callKeyChanged ends the calls of an account with a peer whose key has changed.
func (b *Backend) callKeyChanged(id store.AccountID, peer identity.Address) {
	for _, a := range b.running() {
		if a.ID() == id {
			a.Calls().KeyChanged(peer.String())
		}
	}
}
