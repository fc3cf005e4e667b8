package call

import (
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// A way that is lost, or a network that has changed, makes a restart: the
// caller's offer of a new generation, the callee's answer, and new candidates of
// both. The callee, when it is the first to see it, only wishes for one, so that
// two restarts never meet.

func (m *machine) mediaUp(e MediaUp) {
	c := m.Find(e.ID)
	if c == nil || c.Phase != Connecting && c.Phase != Reconnecting || c.Answer.SDP == "" {
		return
	}
	c.Confirmed = true // only the caller's device has the other end
	c.stop(TimerConnect, TimerRepeat)
	m.enter(c, Connected)
}

func (m *machine) mediaDown(e MediaDown) {
	c := m.Find(e.ID)
	switch {
	case c == nil:
	case e.Identity:
		m.end(c, local.CallIdentity, e.Text, e2e.CallReason_CALL_REASON_IDENTITY)
	case e.Closed && c.Phase >= Connecting:
		if c.timers[TimerClosed] == 0 {
			m.timer(c, TimerClosed, closedFor)
		}
	case e.Closed:
	case c.Phase < Connecting && e.Lost:
		m.end(c, local.CallFailed, e.Text, farewell(c))
	case c.Phase == Connecting && e.Lost && e.refused():
		// The user has said yes, but to nothing that the peer could send or take:
		// to the peer it is a refusal.
		m.because = e.Err
		m.end(c, local.CallFailed, e.Text, e2e.CallReason_CALL_REASON_DECLINED)
	case c.Phase == Connecting && e.Lost:
		m.end(c, local.CallFailed, e.Text, e2e.CallReason_CALL_REASON_FAILED)
	case c.Phase == Connected:
		m.timer(c, TimerConnect, connectFor)
		m.enter(c, Reconnecting)
		m.look(c)
	case c.Phase == Reconnecting && e.Lost && c.Out && c.restarted:
		m.look(c)
	}
}

// look begins the search for a new path.
func (m *machine) look(c *Call) {
	c.repeats = 0
	m.timer(c, TimerRepeat, repeatEvery)
	if !c.Out {
		m.send(c, restartSignal(c.ID, 0, ""))
		return
	}
	if c.generation > 0 && c.restart == "" || c.generation >= maxRestarts {
		return // one is being made
	}
	c.generation++
	c.restart, c.restarted, c.mine, c.theirs = "", false, nil, nil
	m.do(MakeRestart{ID: c.ID, Generation: c.generation})
}

// restarted takes the SDP that media made for a restart.
func (m *machine) restarted(e Restarted) {
	c := m.Find(e.ID)
	if c == nil || c.Phase < Connected || e.Generation != c.generation || c.generation == 0 || c.restart != "" || e.SDP == "" {
		return
	}
	c.restart = e.SDP
	m.send(c, restartSignal(c.ID, c.generation, c.restart))
	if !c.Out && len(c.mine) > 0 {
		m.sendCandidates(c)
	}
}

// restartCame takes the peer's part of a restart.
func (m *machine) restartCame(c *Call, e Signal) {
	r := e.Call.GetRestart()
	if c.Phase < Connected || c.Device != e.Device {
		return
	}
	if c.Out {
		switch {
		case r.GetSdp() == "" && (c.generation == 0 || c.restarted):
			m.look(c)
		case r.GetSdp() != "" && r.GetGeneration() == c.generation && c.restart != "" && !c.restarted:
			c.restarted, c.repeats = true, 0
			m.do(TakeRestart{ID: c.ID, SDP: r.GetSdp(), Fingerprint: c.Answer.Fingerprint})
			m.sendCandidates(c)
		}
		return
	}
	switch {
	case r.GetSdp() == "":
	case r.GetGeneration() > c.generation && r.GetGeneration() <= maxRestarts:
		c.generation = r.GetGeneration()
		c.restart, c.mine, c.theirs = "", nil, nil
		m.do(AnswerRestart{ID: c.ID, Generation: c.generation, SDP: r.GetSdp(), Fingerprint: c.Offer.Fingerprint})
	case r.GetGeneration() == c.generation && c.restart != "":
		m.send(c, restartSignal(c.ID, c.generation, c.restart))
		m.sendCandidates(c)
	}
}

// repeatRestart says again what belongs to a restart, and reports whether there
// is anything to be said later.
func (m *machine) repeatRestart(c *Call) bool {
	if c.Phase == Connected && (c.restarted || c.repeats > restartAgain) {
		return false
	}
	switch {
	case !c.Out && c.restart == "":
		m.send(c, restartSignal(c.ID, 0, ""))
	case !c.Out:
		m.sendCandidates(c)
		if c.repeats >= restartAgain {
			m.send(c, restartSignal(c.ID, 0, ""))
		}
	case c.restart != "" && !c.restarted:
		m.send(c, restartSignal(c.ID, c.generation, c.restart))
	case c.restarted && c.repeats >= restartAgain:
		m.look(c)
		return false // it has started the timer
	case c.restarted:
		m.sendCandidates(c)
	}
	return true
}
