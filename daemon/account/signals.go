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

// callSignals is an engine as the call service knows it.
type callSignals struct{ e *engine.Engine }

// Check implements call.Signals.
func (c callSignals) Check(ctx context.Context, peer string) (string, error) {
	addr, err := c.e.CheckCall(ctx, peer)
	return addr.String(), err
}

// Reachable implements call.Signals.
func (c callSignals) Reachable(ctx context.Context) error { return c.e.Reachable(ctx) }

// Send implements call.Signals.
func (c callSignals) Send(ctx context.Context, peer string, to *call.Device, m *e2e.Call) ([]call.Device, error) {
	addr, err := identity.ParseAddress(peer)
	if err != nil {
		return nil, err
	}
	sent, err := c.e.SendCall(ctx, addr, (*key.DeviceID)(to), m)
	out := make([]call.Device, len(sent))
	for i, d := range sent {
		out[i] = call.Device(d)
	}
	return out, err
}

// AutoAnswer implements call.Signals.
func (c callSignals) AutoAnswer(ctx context.Context, peer string) (bool, error) {
	addr, err := identity.ParseAddress(peer)
	if err != nil {
		return false, err
	}
	return c.e.AutoAnswer(ctx, addr)
}

// Record implements call.Signals.
func (c callSignals) Record(ctx context.Context, r call.Record) error {
	rec, err := callRecord(r)
	if err != nil {
		return err
	}
	return c.e.RecordCall(ctx, rec)
}

// Event implements call.Signals.
func (c callSignals) Event(r call.Record) local.Event {
	rec, err := callRecord(r)
	if err != nil {
		return local.Event{Type: local.TypeCall, Call: &r.Call}
	}
	return c.e.CallEvent(rec)
}

func callRecord(r call.Record) (engine.CallRecord, error) {
	addr, err := identity.ParseAddress(r.Peer)
	return engine.CallRecord{Peer: addr, Device: key.DeviceID(r.Device), Began: r.Began, Call: r.Call}, err
}

// callHandler hands what the engine has for calls to their service.
type callHandler struct{ a *Account }

// CallSignal implements engine.CallHandler.
func (h callHandler) CallSignal(s engine.CallSignal) {
	if s.Late {
		h.a.Calls.LateOffer(s.Peer.String(), call.Device(s.Device), s.Call)
		return
	}
	h.a.Calls.Signal(s.Peer.String(), call.Device(s.Device), s.Call)
}

// CallUndelivered implements engine.CallHandler.
func (h callHandler) CallUndelivered(u engine.CallUndelivered) {
	h.a.Calls.Undelivered(call.ID(u.Call), call.Device(u.Device), u.Offline || u.Refused, u.Denied)
}

// CallKeyChanged implements engine.CallHandler.
func (h callHandler) CallKeyChanged(peer identity.Address) {
	h.a.Calls.KeyChanged(peer.String())
}
