package media

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// A peer that closes its end is reported, with or without an end signal.
func TestPeerCloses(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 20, 0, 10*time.Second)
	if err := p.caller.Close(); err != nil {
		t.Fatal(err)
	}
	until[Closed](t, p.from[1], 5*time.Second, nil)
	if d := p.callee.Summary().Duration; d <= 0 {
		t.Errorf("the connection stood for %s", d)
	}
}

// A restart uses the present servers: the credentials from the start of a long call may
// have expired.
func TestRestartWithOtherServers(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	var expired atomic.Bool
	a.options.RelayOnly, a.options.ICEServers = true, []ICEServer{relayFor(t, func() bool { return !expired.Load() })}
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 20, 0, 15*time.Second)
	expired.Store(true)
	if err := p.caller.SetServers([]ICEServer{relay(t)}); err != nil {
		t.Fatal(err)
	}
	offer, err := p.caller.Restart(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	print, err := p.caller.ownFingerprint()
	if err != nil {
		t.Fatal(err)
	}
	answer, other, err := p.callee.Accept(context.Background(), offer, print)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.caller.Answer(answer, other); err != nil {
		t.Fatal(err)
	}
	now := p.callee.Summary().AudioIn.Frames
	received(t, p.from[1], now+60, 0, 15*time.Second)
}
