package account

import (
	"context"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/call"
	"secmsg/daemon/engine"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// callSignals implements call.Signals with the account's engine.
type callSignals struct{ *engine.Engine }

// Check implements call.Signals.
func (s callSignals) Check(ctx context.Context, name string) (identity.Address, error) {
	return s.CheckCall(ctx, name)
}

// Send implements call.Signals.
func (s callSignals) Send(ctx context.Context, peer identity.Address, to *key.DeviceID, c *e2e.Call) ([]key.DeviceID, error) {
	return s.SendCall(ctx, peer, to, c)
}

// Record implements call.Signals.
func (s callSignals) Record(ctx context.Context, r call.Record) error {
	return s.RecordCall(ctx, engine.CallRecord(r))
}

// Event implements call.Signals.
func (s callSignals) Event(r call.Record) local.Event { return s.CallEvent(engine.CallRecord(r)) }

// callHandler implements engine.CallHandler with the account's calls.
type callHandler struct{ a *Account }

// CallSignal implements engine.CallHandler.
func (h callHandler) CallSignal(s engine.CallSignal) {
	if s.Late {
		h.a.Calls.LateOffer(s.Peer, s.Device, s.Call)
		return
	}
	h.a.Calls.Signal(s.Peer, s.Device, s.Call)
}

// CallUndelivered implements engine.CallHandler.
func (h callHandler) CallUndelivered(u engine.CallUndelivered) {
	h.a.Calls.Undelivered(u.Call, u.Device, u.Offline || u.Refused, u.Denied)
}

// CallKeyChanged implements engine.CallHandler.
func (h callHandler) CallKeyChanged(peer identity.Address) { h.a.Calls.KeyChanged(peer) }
