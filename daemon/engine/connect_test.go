package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// TestConnect: a question that comes before the first connection waits for it;
// one attempt that fails ends the wait with its reason, and a connection that
// never comes ends it in a few seconds.
func TestConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := join(t, newRelay(t), "alice")
		defer alice.stop()
		later := func(d time.Duration, f func()) {
			done := make(chan struct{})
			time.AfterFunc(d, func() { defer close(done); f() })
			t.Cleanup(func() { <-done })
		}
		took := func(stage Stage) (time.Duration, error) {
			start := time.Now()
			err := alice.engine.Connect(t.Context(), stage)
			return time.Since(start), err
		}
		if d, err := took(StageContact); err == nil || d != alice.engine.cfg.DefaultWait {
			t.Errorf("no link at all: %v after %s", err, d)
		}
		kicks := 0
		alice.link.onKick = func() { kicks++ }
		refused := &link.HostError{Host: "chat.example:8443", Cause: link.CauseConnectRefused, Err: link.ErrUnreachable}
		time.Sleep(alice.engine.cfg.BackoffMin) // the fake clock of synctest
		later(time.Second, func() { alice.engine.Down(wire.RoleContact, refused) })
		d, err := took(StageContact)
		if e := local.As(err); e.Cause != local.CauseConnectRefused || e.Host != "chat.example:8443" || d >= 2*time.Second {
			t.Errorf("a refused attempt: %+v after %s", e, d)
		}
		if kicks != 1 {
			t.Errorf("%d kicks", kicks)
		}
		later(time.Second, alice.link.connect)
		if d, err := took(StageMail); err != nil || d > 2*time.Second {
			t.Errorf("connected: %v after %s", err, d)
		}
		if d, err := took(StageMail); err != nil || d != 0 {
			t.Errorf("once more: %v after %s", err, d)
		}
		alice.link.disconnect()
	})
}

// TestConnectCountsOverResume lets the device be resumed, and an attempt fail, between
// two looks of a request at the connection. The failure ends its wait at once.
func TestConnectCountsOverResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := join(t, newRelay(t), "alice")
		defer alice.stop()
		refused := &link.HostError{Host: "chat.example:8443", Cause: link.CauseConnectRefused, Err: link.ErrUnreachable}
		alice.engine.Down(wire.RoleContact, refused)
		tried := true
		alice.link.onKick = func() { // within Connect, after its first look
			if err := alice.engine.Resume(t.Context(), alice.device); err != nil {
				t.Error(err)
			}
			tried = alice.engine.Tried()
			alice.engine.Down(wire.RoleContact, refused)
		}
		start := time.Now()
		err := alice.engine.Connect(t.Context(), StageContact)
		if e := local.As(err); e.Cause != local.CauseConnectRefused || time.Since(start) > 0 {
			t.Errorf("%+v after %s", e, time.Since(start))
		}
		if tried || !alice.engine.Tried() {
			t.Errorf("tried once resumed: %v; after the failure: %v", tried, alice.engine.Tried())
		}
	})
}

// TestSendKicks: each message that is queued while the link is down makes the link
// try, whether its sender waits or not, and however soon it follows another: the
// server may be back since the attempt for that one failed.
func TestSendKicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := join(t, newRelay(t), "alice")
		defer alice.stop()
		kicks := 0
		alice.link.onKick = func() { kicks++ }
		for i, wait := range []string{waitQueued, waitQueued, waitServer} {
			p := local.SendParams{Peers: []string{"bob"}, Text: "hi", Wait: wait, Timeout: 0.001}
			if _, err := alice.engine.Send(t.Context(), p); err != nil && local.As(err).Code != local.CodeTimeout {
				t.Fatal(err)
			}
			if kicks != i+1 {
				t.Errorf("%d kicks after %d messages, the last with --wait %s", kicks, i+1, wait)
			}
		}
	})
}

// TestColdCheck: a status check that is the first thing asked of a daemon waits
// for the connection.
func TestColdCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := join(t, newRelay(t), "alice")
		defer alice.stop()
		alice.link.connect() // the server learns of the device's prekeys
		settleDown(time.Second)
		alice.link.disconnect()
		done := make(chan local.CheckResult, 1)
		go func() { done <- alice.engine.Check(t.Context()) }()
		time.Sleep(2 * time.Second) // the fake clock of synctest
		alice.link.connect()
		if r := <-done; !r.OK {
			t.Errorf("%+v", r.Error)
		}
	})
}

// TestSendTellsWhyItWaits: a message that is queued because the server is away
// says so, and so does a wait that was asked for.
func TestSendTellsWhyItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		alice.link.disconnect()
		alice.engine.Down(wire.RoleContact, &link.HostError{Host: "chat.example:8443", Cause: link.CauseSuspended, Err: &wire.Error{Code: wire.CodeSuspended}})
		for _, wait := range []string{"", waitServer} {
			out, err := alice.engine.Send(t.Context(), local.SendParams{Peers: []string{"bob"}, Text: "hi", Wait: wait})
			if err != nil || len(out.Results) != 1 || out.Results[0].State != local.StateQueued {
				t.Fatalf("%+v, %v", out, err)
			}
			why := out.Results[0].Waiting
			if wait != "" {
				why = out.Results[0].Error
			}
			if why == nil || why.Cause != local.CauseSuspended || why.Host == "" {
				t.Errorf("wait %q: %+v", wait, out.Results[0])
			}
		}
		alice.link.connect()
		settleDown(time.Second)
		out, err := alice.engine.Send(t.Context(), local.SendParams{Peers: []string{"bob"}, Text: "hi"})
		if err != nil || out.Results[0].Waiting != nil || out.Results[0].Error != nil {
			t.Errorf("connected: %+v, %v", out, err)
		}
	})
}
