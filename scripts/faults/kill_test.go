//go:build linux

package faults

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/scripts/lab"
)

// Row 1: the sender's daemon is killed at random moments while messages are handed to it. Each message
// with an id arrives, once and in order.
func TestFault01KillDaemonWhileSending(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	const messages, enough = 24, 4
	kills := 0
	// On a busy machine a random moment often finds no daemon yet.
	for i := 0; i < messages || i < 10*messages && kills < enough; i++ {
		var killed chan error
		if i%3 == 0 { // the moment is random, the number of kills is not
			killed = make(chan error, 1)
			wait := time.Duration(r.rng.Int64N(int64(60 * time.Millisecond)))
			go func() {
				<-time.After(wait)
				_, err := r.w.SignalDaemon("alice", syscall.SIGKILL)
				killed <- err
			}()
		}
		r.send("alice", "bob", fmt.Sprintf("message %d", i), "--wait", "queued")
		if killed != nil {
			switch err := <-killed; {
			case err == nil:
				kills++
			case !errors.Is(err, lab.ErrNoDaemon) && !errors.Is(err, syscall.ESRCH):
				t.Fatal(err)
			}
		}
	}
	if kills < enough {
		t.Errorf("only %d daemons were killed", kills)
	}
	r.settle()
}

// Row 2: the recipient's daemon is killed after it has committed decrypted messages and before the
// server gets the acknowledgement. The server delivers them again, and they are shown once.
func TestFault02KillDaemonBetweenDecryptAndAck(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	r.connected("alice", "bob")
	r.send("alice", "bob", "before", "--wait", "delivered", "--timeout", patience)
	var withheld, again atomic.Int64
	r.frame.Hook(lab.FrameHooks{Frame: func(f lab.Frame) ([][]byte, bool) {
		if isAck(f) && isUser(f.Account, "bob") {
			withheld.Add(1)
			return nil, false
		}
		return [][]byte{f.Data}, false
	}})
	const messages = 8
	for i := range messages {
		r.send("alice", "bob", fmt.Sprintf("message %d", i), "--wait", "queued")
	}
	r.until("bob", "alice", fmt.Sprintf("message %d", messages-1))
	r.check(r.w.KillDaemon(t.Context(), "bob"))
	if withheld.Load() == 0 {
		t.Error("bob acknowledged nothing, so nothing was withheld")
	}
	r.frame.Hook(lab.FrameHooks{Deliver: func(account string, envs []*wire.Envelope) []*wire.Envelope {
		if isUser(account, "bob") {
			again.Add(int64(len(envs)))
		}
		return envs
	}})
	r.start("bob")
	r.eventually("the server brings them again", func() bool { return again.Load() >= messages })
	r.send("bob", "alice", "got them", "--wait", "queued")
	r.settle()
}

// Row 3: the server is killed after a message was stored but before the sender knows, after it was
// delivered but before it was deleted, and at random moments. One copy is shown.
func TestFault03KillServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	r.connected("alice", "bob")
	const messages = 6

	// The answers to alice are lost with the server.
	r.stop("bob")
	var answers, acks atomic.Int64
	r.frame.Hook(lab.FrameHooks{Frame: func(f lab.Frame) ([][]byte, bool) {
		if !f.Up && f.Role == wire.RoleContact && isUser(f.Account, "alice") {
			answers.Add(1)
			return nil, false
		}
		return [][]byte{f.Data}, false
	}})
	for i := range messages {
		r.send("alice", "bob", fmt.Sprintf("stored %d", i), "--wait", "queued")
	}
	r.eventually("the server answers", func() bool { return answers.Load() > 0 })
	r.w.KillServer()
	r.frame.Hook(lab.FrameHooks{}) // the next server's answers are not lost
	r.check(r.w.StartServer(t.Context()))
	r.eventually("all is accepted", func() bool { return r.account("alice").Outbox == 0 })

	// Bob's acknowledgements are lost with the server.
	r.frame.Hook(lab.FrameHooks{Frame: func(f lab.Frame) ([][]byte, bool) {
		if isAck(f) {
			acks.Add(1)
			return nil, false
		}
		return [][]byte{f.Data}, false
	}})
	r.start("bob")
	r.until("bob", "alice", fmt.Sprintf("stored %d", messages-1))
	r.eventually("bob acknowledges", func() bool { return acks.Load() > 0 })
	r.w.KillServer()
	r.frame.Hook(lab.FrameHooks{})
	r.check(r.w.StartServer(t.Context()))

	for i := range 3 {
		for k := range messages {
			r.send("alice", "bob", fmt.Sprintf("random %d.%d", i, k), "--wait", "queued")
			r.send("bob", "alice", fmt.Sprintf("back %d.%d", i, k), "--wait", "queued")
		}
		r.pause(time.Duration(r.rng.Int64N(int64(50 * time.Millisecond))))
		r.restartServer()
	}
	r.settle()
}

// isAck reports whether a frame acknowledges envelopes.
func isAck(f lab.Frame) bool {
	var c wire.ReplicaClient
	return f.Up && f.Role == wire.RoleReplica && wire.Unmarshal(f.Data, &c) == nil && c.GetAck() != nil
}

// restartServer kills the server and starts it again.
func (r *rig) restartServer() {
	r.t.Helper()
	r.w.KillServer()
	r.check(r.w.StartServer(r.t.Context()))
}

// isUser reports whether an account in a token is user's.
func isUser(account, user string) bool {
	return account == user || strings.HasPrefix(account, user+"@")
}

// Row 4: the server, and then a daemon, are frozen for several ping intervals. The others notice,
// reconnect and catch up, and the server does not grow.
func TestFault04Freeze(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	r.send("alice", "bob", "before", "--wait", "delivered", "--timeout", patience)
	pid := r.w.Server().PID()
	before, err := lab.RSS(pid)
	r.check(err)

	r.check(r.w.Server().Freeze())
	for i := range 5 {
		r.send("alice", "bob", fmt.Sprintf("server frozen %d", i), "--wait", "queued")
	}
	r.eventually("alice notices", func() bool { return !r.account("alice").Connected })
	r.eventually("bob notices", func() bool { return !r.account("bob").Connected })
	r.check(r.w.Server().Thaw())
	r.connected("alice", "bob")
	r.until("bob", "alice", "server frozen 4")

	bob, err := r.w.SignalDaemon("bob", syscall.SIGSTOP)
	r.check(err)
	const burst = 200
	lines := make([]string, burst)
	for i := range lines {
		lines[i] = fmt.Sprintf("daemon frozen %d %s", i, strings.Repeat("x", 2000))
	}
	r.lines("alice", "bob", lines)
	r.eventually("the server has taken all for the frozen daemon", func() bool { return r.account("alice").Outbox == 0 })
	r.pause(3 * pingEvery)
	if now, err := lab.RSS(pid); err != nil || now > before+48<<20 {
		t.Errorf("the server grew from %d to %d bytes (%v)", before, now, err)
	}
	r.check(syscall.Kill(bob, syscall.SIGCONT))
	r.connected("bob")
	r.settle()
}
