package engine

import (
	"time"

	"golang.org/x/time/rate"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/wire"
)

// CallSignal is a call signal from a contact whose key is the pinned one.
type CallSignal struct {
	Peer   identity.Address
	Device key.DeviceID
	Call   *e2e.Call
	// Late marks an offer that is older than its ring time: it was held back on the
	// way, and the call is a missed one.
	Late bool
}

// CallUndelivered reports that a signal did not reach a device.
type CallUndelivered struct {
	Call   [16]byte
	Device key.DeviceID
	// Offline: the device is not connected. Refused: it is gone, or the relay takes
	// no signals for it. Denied: its user has not accepted this account, or blocks
	// it. Otherwise the relay could not forward the signal this time.
	Offline, Refused, Denied bool
}

// CallHandler receives the events of calls, in the actor and after the commit. It
// must not block.
type CallHandler interface {
	CallSignal(CallSignal)
	CallUndelivered(CallUndelivered)
	// CallKeyChanged reports that a peer's key is no longer the pinned one.
	CallKeyChanged(peer identity.Address)
}

// noCalls is the handler of an engine without calls.
type noCalls struct{}

func (noCalls) CallSignal(CallSignal)           {}
func (noCalls) CallUndelivered(CallUndelivered) {}
func (noCalls) CallKeyChanged(identity.Address) {}

const (
	// maxSignals bounds the call signals that wait for the relay's answer.
	maxSignals = 1024
	// offerSkew is how much older than its ring time an offer may seem and still
	// ring. Both ends stamp and compare in profile time, which follows the clock of
	// one server. The allowance covers the offer's way, the drift of two machines
	// between two connections (a minute in a month at 20 ppm), and a correction of
	// the server's clock in between.
	offerSkew = 2 * time.Minute
)

// Limits on the call signals of one contact (attack F13): far more than a caller
// with ten devices needs, and too few to keep a daemon busy.
const (
	offerBurst  = 8
	offerEvery  = 2 * time.Second
	signalBurst = 200
	signalEvery = 50 * time.Millisecond
)

// signals is what the engine knows of calls: the signals that wait for the relay's
// answer, the rates of those that come in, and whether the calls of the previous run
// have ended. It belongs to the actor.
type signals struct {
	handler CallHandler            // never nil
	waiting map[flightKey][16]byte // the call of each signal
	rates   map[store.PeerID]*callRate
	// oldEnded: the calls that the previous run left open are recorded as ended.
	oldEnded bool
}

// callRate limits the call signals of one contact.
type callRate struct{ offers, signals *rate.Limiter }

func newSignals(h CallHandler) *signals {
	if h == nil {
		h = noCalls{}
	}
	return &signals{handler: h, waiting: make(map[flightKey][16]byte), rates: make(map[store.PeerID]*callRate)}
}

// sent notes a signal of a call that was handed to the relay for some devices.
func (s *signals) sent(id store.MessageID, devices []key.DeviceID, call [16]byte) {
	if len(s.waiting)+len(devices) > maxSignals {
		clear(s.waiting) // without an answer the call times out, which says the same
	}
	for _, d := range devices {
		s.waiting[flightKey{id: id, device: d}] = call
	}
}

// answered takes the relay's answer to a signal.
func (s *signals) answered(r link.Result) {
	k := flightKey{id: r.MessageID, device: r.Device}
	call, ok := s.waiting[k]
	if !ok {
		return
	}
	delete(s.waiting, k)
	if !r.Accepted {
		offline := r.Reason == wire.Reason_REASON_OFFLINE
		denied := r.Reason == wire.Reason_REASON_BLOCKED || r.Reason == wire.Reason_REASON_REQUEST
		refused := !offline && !denied && r.Final && r.Reason != wire.Reason_REASON_EXPIRED
		s.handler.CallUndelivered(CallUndelivered{Call: call, Device: r.Device, Offline: offline, Refused: refused, Denied: denied})
	}
}

// disconnected forgets the signals whose answers were lost with the connection.
func (s *signals) disconnected() { clear(s.waiting) }

// admit takes a token for a contact's call signal. It reports false when the
// contact has sent too many, and otherwise returns a function that puts the token
// back. Limiters are kept for contacts only, so the number of contacts bounds
// their memory.
func (s *signals) admit(peer store.PeerID, offer bool) (giveBack func(), ok bool) {
	r := s.rates[peer]
	if r == nil {
		r = &callRate{
			offers:  rate.NewLimiter(rate.Every(offerEvery), offerBurst),
			signals: rate.NewLimiter(rate.Every(signalEvery), signalBurst),
		}
		s.rates[peer] = r
	}
	l := r.signals
	if offer {
		l = r.offers
	}
	// A reservation could be cancelled, too, but gives back less than the whole
	// token when another one was taken after it.
	return func() { l.AllowN(time.Now(), -1) }, l.Allow()
}

// receiveCall hands a contact's signal to the call handler.
func (e *Engine) receiveCall(tx *store.Tx, in *incoming, content *e2e.Content) error {
	c := content.GetCall()
	if in.class != wire.Class_CLASS_ONLINE {
		return tx.Count(e.account, countMalformed)
	}
	contact, err := e.trust.IsContact(tx, e.account, in.peer)
	if err != nil {
		return err
	}
	if !contact {
		return tx.Count(e.account, countCallRefused)
	}
	// The token is taken at once, since the next signals in this transaction must see
	// it gone, and put back if this part of the transaction is undone.
	giveBack, ok := e.signals.admit(in.peer, c.GetOffer() != nil)
	if !ok {
		return tx.Count(e.account, countCallLimited)
	}
	tx.OnUndo(giveBack)
	s := CallSignal{Peer: in.addr, Device: in.device, Call: c, Late: e.offerIsLate(content)}
	tx.OnCommit(func() { e.signals.handler.CallSignal(s) })
	return nil
}

// offerIsLate reports whether a content offers a call that its caller has given up
// long ago. The relay should forward signals at once or never, but that is only the
// server's word. The offer's age is taken by the clock that makes it younger:
// profile time stays ahead after the server's clock was, and the wall clock may be
// wrong. Other signals need no such check: they concern a call that exists here, or
// are answered with its end.
func (e *Engine) offerIsLate(c *e2e.Content) bool {
	o := c.GetCall().GetOffer()
	if o == nil {
		return false
	}
	sent := time.UnixMilli(c.GetSentMs())
	age := min(e.profileTime().Sub(sent), e.now().Sub(sent))
	return age > time.Duration(o.GetRingMs())*time.Millisecond+offerSkew
}
