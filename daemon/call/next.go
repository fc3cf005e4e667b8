package call

import (
	"bytes"
	"slices"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Next returns the state after an event and the effects to carry out. It is pure: it does
// not modify its arguments, and its results depend only on them. An event that does not fit
// the state has no effect.
func Next(s State, e Event) (State, []Effect) {
	m := &machine{State: s.clone()}
	switch e := e.(type) {
	case Start:
		m.start(e)
	case Accept:
		m.accept(e)
	case Hangup:
		m.hangup(e.ID)
	case Signal:
		m.signal(e)
	case Sent:
		m.sent(e)
	case Undelivered:
		m.undelivered(e)
	case Unsendable:
		m.unsendable(e)
	case Expired:
		m.expired(e)
	case KeyChanged:
		for _, id := range m.ids() {
			if c := m.Find(id); c.Peer == e.Peer {
				m.end(c, local.CallIdentity, "the peer's key has changed", 0)
			}
		}
	case Unwanted:
		for _, id := range m.ids() {
			if m.Find(id).Peer == e.Peer {
				m.hangup(id)
			}
		}
	case NetworkChanged:
		for _, id := range m.ids() {
			if c := m.Find(id); c.Phase >= Connected {
				m.searchPath(c)
			}
		}
	case Suspend, Shutdown:
		if _, forGood := e.(Shutdown); forGood {
			m.closed = true
		}
		for _, id := range m.ids() {
			c := m.Find(id)
			m.end(c, local.CallDaemonRestart, "", farewell(c))
		}
	case Described:
		m.described(e)
	case Restarted:
		m.restarted(e)
	case Candidate:
		m.candidate(e)
	case MediaUp:
		m.mediaUp(e)
	case MediaDown:
		m.mediaDown(e)
	}
	return m.State, m.effects
}

// machine is one application of Next.
type machine struct {
	State
	effects []Effect
	because *local.Error // why calls end in this step, if their reason is not enough
}

func (m *machine) do(e Effect) { m.effects = append(m.effects, e) }

// ids returns the ids of all calls. Loops that end calls use it, since that moves the
// others.
func (m *machine) ids() []ID {
	var out []ID
	for i := range m.Calls {
		out = append(out, m.Calls[i].ID)
	}
	return out
}

func (m *machine) timer(c *Call, t Timer, d time.Duration) {
	m.serial++
	c.timers[t] = m.serial
	m.do(StartTimer{ID: c.ID, Timer: t, Serial: m.serial, After: d})
}

// stop cancels timers: their expiry will be ignored.
func (c *Call) stop(timers ...Timer) {
	for _, t := range timers {
		c.timers[t] = 0
	}
}

func (m *machine) enter(c *Call, p Phase) {
	c.Phase, c.repeats = p, 0
	m.do(Tell{Call: *c})
}

// send sends a signal to the device the call is with or, for a call not answered yet, to
// all devices that are not absent.
func (m *machine) send(c *Call, call *e2e.Call) {
	if c.Out && c.Phase < Connecting {
		to := c.devices(func(t target) bool { return t.state != absent })
		m.do(Send{ID: c.ID, Peer: c.Peer, To: to, Call: call})
		return
	}
	m.do(Send{ID: c.ID, Peer: c.Peer, To: []key.DeviceID{c.Device}, Call: call})
}

func (c *Call) devices(which func(t target) bool) []key.DeviceID {
	var out []key.DeviceID
	for _, t := range c.targets {
		if which(t) {
			out = append(out, t.device)
		}
	}
	return out
}

// end removes a call. It sends the end signal with reason tell now, and again when the peer
// still sends signals of the call. If tell is 0, nothing is sent now.
func (m *machine) end(c *Call, reason, text string, tell e2e.CallReason) {
	id := c.ID
	if tell != 0 && (!c.Out || c.Offer.SDP != "") {
		m.send(c, endSignal(id, tell))
	}
	if tell == 0 {
		tell = e2e.CallReason_CALL_REASON_HANGUP
	}
	p := past{id: id, peer: c.Peer, reason: tell}
	if c.Out && c.Phase >= Connecting {
		p.device = c.Device
	}
	m.remember(p)
	m.do(Tell{Call: *c, Reason: reason, Text: text, Err: m.because})
	m.Calls = slices.DeleteFunc(m.Calls, func(x Call) bool { return x.ID == id })
}

func (m *machine) remember(p past) {
	if len(m.past) >= maxPast {
		m.past = slices.Delete(m.past, 0, len(m.past)-maxPast+1)
	}
	m.past = append(m.past, p)
}

// farewell returns the reason in the end signal when this side ends a call.
func farewell(c *Call) e2e.CallReason {
	switch {
	case !c.Accepted: // other devices of this account may still answer it
		return 0
	case c.Out && c.Phase < Connecting:
		return e2e.CallReason_CALL_REASON_CANCELLED
	}
	return e2e.CallReason_CALL_REASON_HANGUP
}

func (m *machine) start(e Start) {
	if m.Find(e.ID) != nil {
		return
	}
	for i := range m.Calls {
		// The called peer is already calling: answer that call.
		if c := &m.Calls[i]; c.Peer == e.Peer && !c.Accepted && m.Active() == nil {
			m.do(Adopt{From: e.ID, To: c.ID})
			m.accept(Accept{ID: c.ID, Secret: e.Spare})
			return
		}
	}
	c := Call{
		ID: e.ID, Peer: e.Peer, Out: true, Phase: Initiating, Audio: e.Audio, Video: e.Video,
		Accepted: true, Confirmed: true, ring: e.Ring, spare: e.Spare,
	}
	c.Offer.Secret = e.Secret
	if m.closed {
		m.do(Tell{Call: c, Reason: local.CallDaemonRestart})
		return
	}
	if m.Active() != nil {
		m.do(Tell{Call: c, Reason: local.CallBusy, Text: "this device already has a call"})
		return
	}
	m.Calls = append(m.Calls, c)
	n := &m.Calls[len(m.Calls)-1]
	m.do(MakeOffer{ID: n.ID})
	m.timer(n, TimerRing, n.ring)
	m.do(Tell{Call: *n})
}

func (m *machine) accept(e Accept) {
	c := m.Find(e.ID)
	if c == nil || c.Accepted || m.Active() != nil {
		return
	}
	c.Accepted, c.Answer.Secret = true, e.Secret
	m.do(MakeAnswer{ID: c.ID, Offer: c.Offer})
	c.stop(TimerRing, TimerRepeat)
	m.timer(c, TimerConnect, connectFor)
	m.enter(c, Connecting)
	m.refuseOthers()
}

// refuseOthers ends the other calls ringing here, because this device is busy now.
func (m *machine) refuseOthers() {
	for {
		i := slices.IndexFunc(m.Calls, func(c Call) bool { return !c.Accepted })
		if i < 0 {
			return
		}
		m.end(&m.Calls[i], local.CallBusy, "", e2e.CallReason_CALL_REASON_BUSY)
	}
}

func (m *machine) hangup(id ID) {
	c := m.Find(id)
	switch {
	case c == nil:
	case !c.Accepted:
		m.end(c, local.CallDeclined, "", e2e.CallReason_CALL_REASON_DECLINED)
	case c.Out && c.Phase < Connecting:
		m.end(c, local.CallCancelled, "", farewell(c))
	default:
		m.end(c, local.CallHangup, "", farewell(c))
	}
}

func (m *machine) sent(e Sent) {
	c := m.Find(e.ID)
	if c == nil || !c.Out {
		return
	}
	for _, d := range e.Devices {
		if c.target(d) == nil && len(c.targets) < maxTargets {
			c.targets = append(c.targets, target{device: d, state: reached})
		}
	}
	if !c.sent && c.Offer.SDP != "" {
		c.sent = true
		m.endIfUnreachable(c) // all may have answered already
	}
}

func (c *Call) target(d key.DeviceID) *target {
	i := slices.IndexFunc(c.targets, func(t target) bool { return t.device == d })
	if i < 0 {
		return nil
	}
	return &c.targets[i]
}

func (m *machine) undelivered(e Undelivered) {
	c := m.Find(e.ID)
	switch {
	case c == nil || !c.Out || c.Phase != Initiating:
	case e.Denied:
		m.end(c, local.CallDeclined, "the peer has not accepted you as a contact, or blocks you", 0)
	case e.Gone:
		m.mark(c, e.Device, absent)
		m.endIfUnreachable(c)
	}
	// Otherwise the signal was lost and will be repeated.
}

// endIfUnreachable ends a call that no device can answer.
func (m *machine) endIfUnreachable(c *Call) {
	if !c.sent || len(c.targets) == 0 || slices.ContainsFunc(c.targets, func(t target) bool { return t.state == reached || t.state == rings }) {
		return
	}
	if slices.ContainsFunc(c.targets, func(t target) bool { return t.state == busy }) {
		m.end(c, local.CallBusy, "", e2e.CallReason_CALL_REASON_CANCELLED)
		return
	}
	m.end(c, local.CallOffline, "", 0)
}

func (m *machine) unsendable(e Unsendable) {
	c := m.Find(e.ID)
	switch {
	case c == nil:
	case e.Identity:
		m.end(c, local.CallIdentity, e.text(), 0)
	case c.Out && c.Phase == Initiating && len(c.targets) == 0:
		m.because = e.Err
		m.end(c, local.CallOffline, e.text(), 0)
	}
}

func (m *machine) described(e Described) {
	c := m.Find(e.ID)
	d := Description{SDP: e.SDP, Fingerprint: bytes.Clone(e.Fingerprint)}
	switch {
	case c == nil:
	case c.Out && c.Phase == Initiating && c.Offer.SDP == "":
		d.Secret = c.Offer.Secret
		c.Offer = d
		m.send(c, offerSignal(c))
		m.timer(c, TimerRepeat, repeatEvery)
	case !c.Out && c.Accepted && c.Phase == Connecting && c.Answer.SDP == "":
		d.Secret = c.Answer.Secret
		c.Answer = d
		m.do(SetKeys{ID: c.ID, Device: c.Device, Offer: c.Offer.Secret, Answer: c.Answer.Secret})
		m.send(c, answerSignal(c))
		m.timer(c, TimerRepeat, repeatEvery)
	}
}

func (m *machine) expired(e Expired) {
	c := m.Find(e.ID)
	if c == nil || e.Timer >= timers || e.Serial == 0 || c.timers[e.Timer] != e.Serial {
		return
	}
	c.timers[e.Timer] = 0
	switch e.Timer {
	case TimerRing:
		tell := e2e.CallReason(0)
		if c.Out {
			tell = e2e.CallReason_CALL_REASON_NO_ANSWER
		}
		m.end(c, local.CallNoAnswer, "", tell)
	case TimerConnect:
		m.end(c, local.CallFailed, "no network path to the peer was found", e2e.CallReason_CALL_REASON_FAILED)
	case TimerRepeat:
		c.repeats++
		m.repeat(c)
	case TimerGather:
		m.sendCandidates(c)
	case TimerClosed:
		c.PeerEnded = true
		m.end(c, local.CallHangup, "", e2e.CallReason_CALL_REASON_HANGUP)
	}
}

// repeat repeats a signal that the peer has not answered.
func (m *machine) repeat(c *Call) {
	again := repeatEvery
	switch {
	case c.Out && c.Phase < Connecting:
		for i := range c.targets {
			t := &c.targets[i]
			if t.quiet++; t.state == rings && t.quiet > silent {
				t.state = reached
			}
		}
		// Include absent devices: they may be connected again.
		to := c.devices(func(t target) bool { return t.state == reached || t.state == absent })
		if len(to) > 0 || len(c.targets) == 0 {
			m.do(Send{ID: c.ID, Peer: c.Peer, To: to, Call: offerSignal(c)})
		}
	case c.Phase == Ringing:
		m.send(c, ringingSignal(c.ID))
		again = ringEvery
	case c.Phase == Connecting && !c.Confirmed:
		m.send(c, answerSignal(c))
	case c.Phase == Connecting:
		m.sendCandidates(c)
	case !m.repeatRestart(c):
		return
	}
	m.timer(c, TimerRepeat, again)
}
