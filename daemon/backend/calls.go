package backend

import (
	"context"

	"secmsg/crypto/identity"
	"secmsg/daemon/account"
	"secmsg/daemon/call"
	"secmsg/rpc/local"
)

// StartCall implements localapi.Backend.
func (b *Backend) StartCall(ctx context.Context, p local.CallStartParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Start(ctx, p, s, events) })
}

// AnswerCall implements localapi.Backend.
func (b *Backend) AnswerCall(ctx context.Context, p local.CallAnswerParams, s call.Streams, events func(local.Event)) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Answer(ctx, p, s, events) })
}

// RejectCall implements localapi.Backend.
func (b *Backend) RejectCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Reject(ctx, p.ID) })
}

// HangupCall implements localapi.Backend.
func (b *Backend) HangupCall(ctx context.Context, p local.CallIDParams) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Hangup(ctx, p.ID) })
}

// MuteCall implements localapi.Backend.
func (b *Backend) MuteCall(ctx context.Context, p local.CallIDParams, muted bool) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Mute(ctx, p.ID, false, muted) })
}

// Camera implements localapi.Backend.
func (b *Backend) Camera(ctx context.Context, p local.CallCameraParams) (local.Call, error) {
	return on(b, p.Account, func(a *account.Account) (local.Call, error) { return a.Calls.Mute(ctx, p.ID, true, !p.On) })
}

// CallStatus implements localapi.Backend.
func (b *Backend) CallStatus(ctx context.Context, name string) (local.Calls, error) {
	return on(b, name, func(a *account.Account) (local.Calls, error) { return a.Calls.Status(ctx) })
}

// ListCalls implements localapi.Backend.
func (b *Backend) ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error) {
	return on(b, p.Account, func(a *account.Account) (local.Events, error) { return a.Engine.ListCalls(ctx, p) })
}

// endCalls ends the calls with a peer whose signals are no longer accepted: the
// peer's own end of the call would be ignored.
func (b *Backend) endCalls(ctx context.Context, a *account.Account, peer identity.Address) {
	if err := a.Calls.Unwanted(ctx, peer); err != nil {
		b.logger.Info("cannot end the calls with a peer", "error", err)
	}
}
