package daemon

import (
	"context"

	"secmsg/crypto/identity"
	"secmsg/daemon/call"
	"secmsg/daemon/engine"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// callsOf returns the call service of an account; a locked profile has no calls.
func (d *Daemon) callsOf(name string) (*call.Service, error) {
	a, err := d.resolve(name)
	if err != nil {
		return nil, toLocal(err)
	}
	return a.callService(), nil
}

// StartCall implements localapi.Backend.
func (d *Daemon) StartCall(ctx context.Context, p local.CallStartParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	c, err := d.callsOf(p.Account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := c.Start(ctx, p, s, events)
	return out, toLocal(err)
}

// AnswerCall implements localapi.Backend.
func (d *Daemon) AnswerCall(ctx context.Context, p local.CallAnswerParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	c, err := d.callsOf(p.Account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := c.Answer(ctx, p, s, events)
	return out, toLocal(err)
}

// RejectCall implements localapi.Backend.
func (d *Daemon) RejectCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return d.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Reject(ctx, p.ID) })
}

// HangupCall implements localapi.Backend.
func (d *Daemon) HangupCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return d.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Hangup(ctx, p.ID) })
}

// MuteCall implements localapi.Backend.
func (d *Daemon) MuteCall(ctx context.Context, p local.CallIDParams, on bool) (local.Call, error) {
	return d.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Mute(ctx, p.ID, false, on) })
}

// Camera implements localapi.Backend.
func (d *Daemon) Camera(ctx context.Context, p local.CallCameraParams) (local.Call, error) {
	return d.oneCall(p.Account, func(c *call.Service) (local.Call, error) { return c.Mute(ctx, p.ID, true, !p.On) })
}

func (d *Daemon) oneCall(account string, f func(c *call.Service) (local.Call, error)) (local.Call, error) {
	c, err := d.callsOf(account)
	if err != nil {
		return local.Call{}, err
	}
	out, err := f(c)
	return out, toLocal(err)
}

// CallStatus implements localapi.Backend.
func (d *Daemon) CallStatus(ctx context.Context, account string) (local.Calls, error) {
	c, err := d.callsOf(account)
	if err != nil {
		return local.Calls{}, err
	}
	out, err := c.Status(ctx)
	return out, toLocal(err)
}

// ListCalls implements localapi.Backend.
func (d *Daemon) ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error) {
	var out local.Events
	err := d.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.ListCalls(ctx, p)
		return err
	})
	return out, err
}

// endCalls ends the calls with a peer whose signals are no longer taken: its own
// end would not be heard.
func (d *Daemon) endCalls(ctx context.Context, a *account, peer identity.Address) {
	if err := a.callService().Unwanted(ctx, peer.String()); err != nil {
		d.logger.Info("end the calls with a peer", "error", err)
	}
}

// callKeyChanged ends the calls of an account with a peer whose key has changed.
func (d *Daemon) callKeyChanged(id store.AccountID, peer identity.Address) {
	for _, a := range d.running() {
		if a.id == id {
			a.callService().KeyChanged(peer.String())
		}
	}
}
