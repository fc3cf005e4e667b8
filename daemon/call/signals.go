package call

import (
	"bytes"
	"slices"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Signals of the machine: constructors, and handlers for those that peers send.

func offerSignal(c *Call) *e2e.Call {
	return &e2e.Call{Id: c.ID[:], What: &e2e.Call_Offer{Offer: &e2e.CallOffer{
		Sdp: c.Offer.SDP, Secret: bytes.Clone(c.Offer.Secret[:]), Fingerprint: c.Offer.Fingerprint,
		Audio: c.Audio, Video: c.Video, RingMs: uint32(c.ring / time.Millisecond),
	}}}
}

func answerSignal(c *Call) *e2e.Call {
	return &e2e.Call{Id: c.ID[:], What: &e2e.Call_Answer{Answer: &e2e.CallAnswer{
		Sdp: c.Answer.SDP, Secret: bytes.Clone(c.Answer.Secret[:]), Fingerprint: c.Answer.Fingerprint,
	}}}
}

func ringingSignal(id ID) *e2e.Call {
	return &e2e.Call{Id: id[:], What: &e2e.Call_Ringing{Ringing: &e2e.CallRinging{}}}
}

func candidatesSignal(c *Call) *e2e.Call {
	return &e2e.Call{Id: c.ID[:], What: &e2e.Call_Candidates{Candidates: &e2e.CallCandidates{
		Generation: c.generation, Candidates: slices.Clone(c.mine),
	}}}
}

func restartSignal(id ID, generation uint32, sdp string) *e2e.Call {
	return &e2e.Call{Id: id[:], What: &e2e.Call_Restart{Restart: &e2e.CallRestart{Generation: generation, Sdp: sdp}}}
}

func endSignal(id ID, reason e2e.CallReason) *e2e.Call {
	return &e2e.Call{Id: id[:], What: &e2e.Call_End{End: &e2e.CallEnd{Reason: reason}}}
}

// signal handles a signal from a peer's device. Its fields were validated by the decoder.
func (m *machine) signal(e Signal) {
	id := ID(e.Call.GetId())
	c := m.Find(id)
	if c == nil {
		m.stray(id, e)
		return
	}
	if c.Peer != e.Peer || !c.Out && c.Device != e.Device {
		return // neither this peer's call nor this device's
	}
	switch {
	case e.Call.GetOffer() != nil:
		m.offeredAgain(c)
	case e.Call.GetRinging() != nil:
		m.ringing(c, e)
	case e.Call.GetAnswer() != nil:
		m.answered(c, e)
	case e.Call.GetCandidates() != nil:
		m.candidates(c, e)
	case e.Call.GetRestart() != nil:
		m.peerRestart(c, e)
	case e.Call.GetEnd() != nil:
		m.ended(c, e)
	}
}

// stray handles a signal of an unknown or ended call. It answers with an end signal, except
// to an end signal.
func (m *machine) stray(id ID, e Signal) {
	if e.Call.GetEnd() != nil {
		return
	}
	reason := e2e.CallReason_CALL_REASON_HANGUP
	i := slices.IndexFunc(m.past, func(p past) bool { return p.id == id })
	switch {
	case i >= 0 && m.past[i].peer != e.Peer:
		return
	case i >= 0 && m.past[i].device != (key.DeviceID{}) && m.past[i].device != e.Device:
		reason = e2e.CallReason_CALL_REASON_TAKEN // this device missed that another one took the call
	case i >= 0:
		reason = m.past[i].reason
	case e.Call.GetOffer() != nil:
		m.offered(id, e)
		return
	}
	m.reply(id, e, endSignal(id, reason))
}

func (m *machine) reply(id ID, e Signal, call *e2e.Call) {
	m.do(Send{ID: id, Peer: e.Peer, To: []key.DeviceID{e.Device}, Call: call})
}

// offered handles a new call from a peer.
func (m *machine) offered(id ID, e Signal) {
	if m.closed {
		return // other devices may answer it, or this one after its restart
	}
	o := e.Call.GetOffer()
	c := Call{
		ID: id, Peer: e.Peer, Phase: Ringing, Audio: o.GetAudio(), Video: o.GetVideo(), Device: e.Device,
		Offer: Description{SDP: o.GetSdp(), Fingerprint: bytes.Clone(o.GetFingerprint()), Secret: [e2e.CallSecretSize]byte(o.GetSecret())},
		ring:  time.Duration(o.GetRingMs()) * time.Millisecond,
	}
	if e.Late {
		m.Calls = append(m.Calls, c)
		m.end(&m.Calls[len(m.Calls)-1], local.CallNoAnswer, "the call was delayed on the way", 0)
		return
	}
	if a := m.Active(); a != nil {
		if a.Out && a.Peer == e.Peer && a.Phase < Connecting {
			m.glare(a, c)
			return
		}
		m.refuse(c)
		return
	}
	// A device has one call at a time, so an older one must have ended without our notice.
	if i := slices.IndexFunc(m.Calls, func(x Call) bool { return x.Peer == e.Peer && x.Device == e.Device }); i >= 0 {
		m.end(&m.Calls[i], local.CallCancelled, "", 0)
	}
	if len(m.Calls) >= maxRinging {
		m.refuse(c)
		return
	}
	m.Calls = append(m.Calls, c)
	n := &m.Calls[len(m.Calls)-1]
	m.send(n, ringingSignal(id))
	m.timer(n, TimerRing, n.ring+ringGrace)
	m.timer(n, TimerRepeat, ringEvery)
	m.do(Tell{Call: *n})
}

// refuse declines an offer because this device is busy.
func (m *machine) refuse(c Call) {
	m.Calls = append(m.Calls, c)
	m.end(&m.Calls[len(m.Calls)-1], local.CallBusy, "", e2e.CallReason_CALL_REASON_BUSY)
}

// glare resolves two peers calling each other: on both sides the call with the smaller id
// wins. Each side learns both ids from the other's offer or its repetition. The user whose
// call is given up has already agreed to talk, so the other call is accepted.
func (m *machine) glare(mine *Call, theirs Call) {
	if bytes.Compare(mine.ID[:], theirs.ID[:]) < 0 {
		return
	}
	own, peer, spare := mine.ID, mine.Peer, mine.spare
	if mine.Offer.SDP != "" {
		m.send(mine, endSignal(own, e2e.CallReason_CALL_REASON_CANCELLED))
	}
	m.remember(past{id: own, peer: peer, reason: e2e.CallReason_CALL_REASON_CANCELLED})
	m.do(Adopt{From: own, To: theirs.ID})
	m.Calls = slices.DeleteFunc(m.Calls, func(x Call) bool { return x.ID == own })
	m.Calls = append(m.Calls, theirs)
	m.accept(Accept{ID: theirs.ID, Secret: spare})
}

func (m *machine) offeredAgain(c *Call) {
	switch {
	case c.Out:
	case !c.Accepted:
		m.send(c, ringingSignal(c.ID))
	case c.Answer.SDP != "" && !c.Confirmed:
		m.send(c, answerSignal(c))
	}
}

// elsewhere tells a device that another one has the call, and reports whether that is so.
func (m *machine) elsewhere(c *Call, e Signal) bool {
	if c.Phase < Connecting || c.Device == e.Device {
		return false
	}
	m.reply(c.ID, e, endSignal(c.ID, e2e.CallReason_CALL_REASON_TAKEN))
	return true
}

func (m *machine) ringing(c *Call, e Signal) {
	if !c.Out || m.elsewhere(c, e) || c.Phase >= Connecting || c.Offer.SDP == "" {
		return
	}
	m.mark(c, e.Device, rings)
	if c.Phase == Initiating {
		m.enter(c, Ringing)
	}
}

// mark records the state of a device, even if the offer was not addressed to it by id.
func (m *machine) mark(c *Call, d key.DeviceID, s targetState) {
	if t := c.target(d); t != nil {
		t.state, t.quiet = s, 0
	} else if len(c.targets) < maxTargets {
		c.targets = append(c.targets, target{device: d, state: s})
	}
}

// maxTargets bounds the devices of one call: an account has at most ten, and some may be
// replaced during the call.
const maxTargets = 32

// answered accepts the first answer; the other devices stop ringing.
func (m *machine) answered(c *Call, e Signal) {
	if !c.Out || m.elsewhere(c, e) || c.Offer.SDP == "" {
		return
	}
	if c.Phase >= Connecting {
		m.sendCandidates(c) // it missed the confirmation
		return
	}
	a := e.Call.GetAnswer()
	others := c.devices(func(t target) bool { return t.device != e.Device && (t.state == reached || t.state == rings) })
	c.Device = e.Device
	c.Answer = Description{SDP: a.GetSdp(), Fingerprint: bytes.Clone(a.GetFingerprint()), Secret: [e2e.CallSecretSize]byte(a.GetSecret())}
	c.stop(TimerRing)
	m.enter(c, Connecting)
	m.do(SetKeys{ID: c.ID, Out: true, Device: c.Device, Offer: c.Offer.Secret, Answer: c.Answer.Secret})
	m.do(TakeAnswer{ID: c.ID, Answer: c.Answer})
	m.sendCandidates(c)
	if len(others) > 0 {
		m.do(Send{ID: c.ID, Peer: c.Peer, To: others, Call: endSignal(c.ID, e2e.CallReason_CALL_REASON_TAKEN)})
	}
	m.timer(c, TimerConnect, connectFor)
	m.timer(c, TimerRepeat, repeatEvery)
}

// sendCandidates sends this device's candidates to the peer. They reveal addresses, so
// neither side sends them before both have agreed. The caller's first one, even if empty,
// confirms to the callee that its answer was accepted.
func (m *machine) sendCandidates(c *Call) {
	c.stop(TimerGather)
	m.send(c, candidatesSignal(c))
}

func (m *machine) candidate(e Candidate) {
	c := m.Find(e.ID)
	if c == nil || !c.Accepted || e.Generation != c.generation || len(c.mine) >= e2e.MaxCandidates ||
		e.Candidate == "" || len(e.Candidate) > e2e.MaxCandidate || slices.Contains(c.mine, e.Candidate) {
		return
	}
	c.mine = append(c.mine, e.Candidate)
	if c.Phase >= Connecting && c.Confirmed && c.timers[TimerGather] == 0 {
		m.timer(c, TimerGather, gather)
	}
}

func (m *machine) candidates(c *Call, e Signal) {
	if !c.Accepted || c.Phase < Connecting || c.Device != e.Device {
		return
	}
	if !c.Out && !c.Confirmed {
		if c.Answer.SDP == "" {
			return // there is no answer to confirm yet
		}
		c.Confirmed = true
		if len(c.mine) > 0 {
			m.sendCandidates(c)
		}
	}
	if e.Call.GetCandidates().GetGeneration() != c.generation {
		return // from another restart; they will be repeated
	}
	var fresh []string
	for _, s := range e.Call.GetCandidates().GetCandidates() {
		if len(c.theirs) < maxRemote && !slices.Contains(c.theirs, s) {
			c.theirs = append(c.theirs, s)
			fresh = append(fresh, s)
		}
	}
	if len(fresh) > 0 {
		m.do(AddCandidates{ID: c.ID, Candidates: fresh})
	}
}

// ended handles the peer's end signal.
func (m *machine) ended(c *Call, e Signal) {
	reason := e.Call.GetEnd().GetReason()
	if c.Out && c.Phase < Connecting {
		m.refused(c, e.Device, reason)
		return
	}
	if c.Device != e.Device {
		return
	}
	c.PeerEnded = true
	m.end(c, reasonOf(c, reason), "", 0)
}

// refused handles the end signal of a device that has not answered the call.
func (m *machine) refused(c *Call, d key.DeviceID, reason e2e.CallReason) {
	switch reason {
	case e2e.CallReason_CALL_REASON_BUSY:
		m.mark(c, d, busy)
		m.endIfUnreachable(c)
	case e2e.CallReason_CALL_REASON_DECLINED:
		m.end(c, local.CallDeclined, "", e2e.CallReason_CALL_REASON_TAKEN)
	case e2e.CallReason_CALL_REASON_FAILED:
		m.end(c, local.CallFailed, "the peer could not take the call", e2e.CallReason_CALL_REASON_TAKEN)
	case e2e.CallReason_CALL_REASON_IDENTITY:
		m.end(c, local.CallIdentity, "", e2e.CallReason_CALL_REASON_TAKEN)
	}
	// HANGUP means that the device has forgotten the call. It does not end the call for the
	// others.
}

// reasonOf translates the reason in the peer's end signal for this side.
func reasonOf(c *Call, r e2e.CallReason) string {
	switch r {
	case e2e.CallReason_CALL_REASON_DECLINED:
		return local.CallDeclined
	case e2e.CallReason_CALL_REASON_BUSY:
		return local.CallBusy
	case e2e.CallReason_CALL_REASON_NO_ANSWER:
		return local.CallNoAnswer
	case e2e.CallReason_CALL_REASON_CANCELLED:
		return local.CallCancelled
	case e2e.CallReason_CALL_REASON_TAKEN:
		return local.CallAnsweredElsewhere
	case e2e.CallReason_CALL_REASON_FAILED:
		return local.CallFailed
	case e2e.CallReason_CALL_REASON_IDENTITY:
		return local.CallIdentity
	}
	if !c.Accepted {
		return local.CallCancelled // the caller has forgotten the call
	}
	return local.CallHangup
}
