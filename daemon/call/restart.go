package call

import (
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// ICE restarts. When the connection is lost or the network changes, the caller sends an
// offer of a new generation, the callee answers, and both send new candidates. If the
// callee notices first, it asks the caller for a restart, so two restarts never collide.

func (m *machine) mediaUp(e MediaUp) {
	c := m.Find(e.ID)
	if c == nil || c.Phase != Connecting && c.Phase != Reconnecting || c.Answer.SDP == "" {
		return
	}
	c.Confirmed = true // only the caller's device has the other end of the connection
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
		// The user accepted the call, but the two sides have no medium in common. To the
		// peer this is a declined call.
		m.because = e.Err
		m.end(c, local.CallFailed, e.Text, e2e.CallReason_CALL_REASON_DECLINED)
	case c.Phase == Connecting && e.Lost:
		m.end(c, local.CallFailed, e.Text, e2e.CallReason_CALL_REASON_FAILED)
	case c.Phase == Connected:
		m.timer(c, TimerConnect, connectFor)
		m.enter(c, Reconnecting)
		m.searchPath(c)
	case c.Phase == Reconnecting && e.Lost && c.Out && c.restarted:
		m.searchPath(c)
	}
}

// searchPath starts an ICE restart, or asks the caller for one.
func (m *machine) searchPath(c *Call) {
	c.repeats = 0
	m.timer(c, TimerRepeat, repeatEvery)
	if !c.Out {
		m.send(c, restartSignal(c.ID, 0, ""))
		return
	}
	if c.generation > 0 && c.restart == "" || c.generation >= maxRestarts {
		return // one is being created
	}
	c.generation++
	c.restart, c.restarted, c.mine, c.theirs = "", false, nil, nil
	m.do(MakeRestart{ID: c.ID, Generation: c.generation})
}

// restarted handles the SDP that media created for a restart.
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

// peerRestart handles the peer's signal of a restart.
func (m *machine) peerRestart(c *Call, e Signal) {
	r := e.Call.GetRestart()
	if c.Phase < Connected || c.Device != e.Device {
		return
	}
	if c.Out {
		switch {
		case r.GetSdp() == "" && (c.generation == 0 || c.restarted):
			m.searchPath(c)
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

// repeatRestart repeats signals of a restart and reports whether to keep repeating.
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
		m.searchPath(c)
		return false // searchPath has started the timer
	case c.restarted:
		m.sendCandidates(c)
	}
	return true
}
