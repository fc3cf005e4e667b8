//go:build linux

package faults

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/rpc/wire"
	"secmsg/scripts/lab"
)

// Row 11, both directions: nothing passes between clients and server. The outbox keeps the messages,
// the status shows the problem, and everything catches up.
func TestFault11PartitionBothWays(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tcp: true})
	r.connected("alice", "bob")
	r.tcp.Set(lab.TCPFaults{Refuse: true})
	r.tcp.Cut(true)
	const messages = 8
	for i := range messages {
		r.send("alice", "bob", fmt.Sprintf("there %d", i), "--wait", "queued")
		r.send("bob", "alice", fmt.Sprintf("back %d", i), "--wait", "queued")
	}
	for _, user := range []string{"alice", "bob"} {
		if st := r.account(user); st.Connected || st.Contact || st.Replica || st.Outbox != messages {
			t.Errorf("%s, cut off: %+v", user, st)
		}
	}
	if res := r.run("alice", "", "status", "--check"); res.Code != 3 {
		t.Errorf("status --check exits %d, want 3\n%s", res.Code, res.Stderr)
	}
	r.tcp.Set(lab.TCPFaults{})
	r.connected("alice", "bob")
	r.settle()
}

// Row 11, one connection: the replica connection cannot be established while the contact connection
// works. Bob's messages are sent, mail for him waits, and the status shows it.
func TestFault11PartitionOfReplicaOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	r.connected("alice", "bob")
	r.frame.Hook(lab.FrameHooks{Frame: func(f lab.Frame) ([][]byte, bool) {
		cut := f.Role == wire.RoleReplica && isUser(f.Account, "bob")
		if cut {
			return nil, true
		}
		return [][]byte{f.Data}, false
	}})
	r.frame.Cut()
	r.eventually("only the contact connection stands", func() bool {
		st := r.account("bob")
		return st.Contact && !st.Connected
	})
	r.send("alice", "bob", "waits", "--wait", "server", "--timeout", patience)
	r.send("bob", "alice", "goes out", "--wait", "server", "--timeout", patience)
	r.until("alice", "bob", "goes out")
	if st := r.account("bob"); st.Connected {
		t.Errorf("bob's status without a replica connection: %+v", st)
	}
	if got := r.history("bob", "alice"); got == "" || len(r.finals()) != 3 {
		t.Errorf("bob's history while nothing can come:\n%s", got)
	}
	r.frame.Hook(lab.FrameHooks{})
	r.connected("bob")
	r.settle()
}

// Row 12: the connection is dead and no end was notified. Both ends find out within two ping intervals.
func TestFault12HalfOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tcp: true})
	r.connected("alice", "bob")
	r.send("alice", "bob", "before", "--wait", "delivered", "--timeout", patience)
	start := time.Now()
	r.tcp.Set(lab.TCPFaults{StallUp: true, StallDown: true})
	r.eventually("alice finds it", func() bool { return !r.account("alice").Connected })
	client := time.Since(start)
	r.eventually("the server finds it", func() bool { return r.sockets() == 0 })
	// The unit tests of either side check the two intervals. Here it is enough that the detection is
	// not left to TCP, which takes a quarter of an hour.
	t.Logf("the client found a dead line after %s, the server after %s, with pings every %s", client, time.Since(start), pingEvery)
	r.send("alice", "bob", "meanwhile", "--wait", "queued")
	r.tcp.Set(lab.TCPFaults{})
	r.connected("alice", "bob")
	r.settle()
}

// Row 13: envelopes arrive twice, out of order, late, and changed. They are shown once, history is in
// order, and changed ones are requested again.
func TestFault13Frames(t *testing.T) {
	t.Parallel()
	for name, rates := range map[string]lab.FrameRates{
		"some": {Duplicate: 0.05, Reorder: 0.1, Drop: 0.01, Flip: 0.02},
		"many": {Duplicate: 0.5, Reorder: 0.5, Drop: 0.1, Flip: 0.15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{frames: true})
			r.connected("alice", "bob")
			lies := lab.NewFrameFaults(rates, seed(t))
			r.frame.Hook(lies.Hooks())
			// If faults are rare, it takes several rounds until each kind has occurred.
			complete := func() bool {
				return lies.Duplicated.Load() > 0 && lies.Reordered.Load() > 0 && lies.Flipped.Load() > 0
			}
			const atLeast, atMost = 6, 60
			for round := 0; round < atLeast || round < atMost && !complete(); round++ {
				texts := make([]string, 12)
				for _, ends := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
					for i := range texts {
						texts[i] = fmt.Sprintf("%s %02d.%02d", ends[0], round, i)
					}
					r.lines(ends[0], ends[1], texts)
				}
			}
			r.eventually("the faults have come true", complete)
			r.pause(time.Second)
			r.frame.Hook(lab.FrameHooks{})
			t.Logf("%d duplicated, %d deliveries reordered, %d frames dropped, %d ciphertexts changed",
				lies.Duplicated.Load(), lies.Reordered.Load(), lies.Dropped.Load(), lies.Flipped.Load())
			r.settle()
			r.noPanic()
		})
	}
}

// Row 14: a slow connection with a long delay, in slices, and then a storm of resets. Messages arrive,
// and the clients do not reconnect in a storm.
func TestFault14SlowLineAndResets(t *testing.T) {
	t.Parallel()
	// Twice the delay is more than a short ping interval allows.
	slow := []string{"SECMSG_INTERVALS_PING=10s", "SECMSG_INTERVALS_RECONNECT_MIN=200ms", "SECMSG_INTERVALS_RECONNECT_MAX=1s"}
	r := newRig(t, options{tcp: true, clientEnv: slow, serverEnv: []string{"SECMSG_LIMITS_PING=10s"}})
	r.connected("alice", "bob")
	const kbit64 = 64_000 / 8
	r.tcp.Set(lab.TCPFaults{Delay: 500 * time.Millisecond, Rate: kbit64, Slice: 200})
	for i := range 4 {
		r.send("alice", "bob", fmt.Sprintf("slow %d", i), "--wait", "queued")
	}
	r.send("bob", "alice", "slow back", "--wait", "delivered", "--timeout", patience)
	r.tcp.Cut(true) // the whole handshake on such a connection, too
	r.send("alice", "bob", "slow again", "--wait", "delivered", "--timeout", patience)
	r.tcp.Set(lab.TCPFaults{})
	r.settleConnected()

	const storm = 4 * time.Second
	var cut atomic.Int64
	begin := time.Now()
	for i := 0; time.Since(begin) < storm; i++ {
		cut.Add(int64(r.tcp.Cut(true)))
		if i%4 == 0 {
			r.send("alice", "bob", fmt.Sprintf("storm %d", i), "--wait", "queued")
		}
		r.pause(50 * time.Millisecond)
	}
	// Two users with two WebSockets each, and the requests before them: tokens, manifests. If the wait
	// always were the shortest one of 200 ms, there would be several times as many.
	took := time.Since(begin)
	most := 4 * 3 * int64(took/(200*time.Millisecond))
	if n := cut.Load(); n > most || n == 0 {
		t.Errorf("%d connections were reset in %s, want 1 to %d", n, took, most)
	}
	r.settle()
}

func (r *rig) settleConnected() {
	r.t.Helper()
	r.connected("alice", "bob")
}

// Row 10: the server has run out of file descriptors. It accepts no new connections and does not spin,
// existing ones continue, and it recovers.
func TestFault10OutOfFileDescriptors(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	pid := r.w.Server().PID()
	restore := r.limitFiles(pid, 10)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range 60 {
		c, err := net.DialTimeout("tcp", r.w.Listen(), 5*time.Second)
		r.check(err) // the kernel accepts it; the server does not
		conns = append(conns, c)
	}
	r.eventually("the server has no descriptor left", func() bool { return r.files(pid) >= r.fileLimit(pid) })
	before, err := lab.CPU(pid)
	r.check(err)
	start := time.Now()
	for i := range 5 {
		r.send("alice", "bob", fmt.Sprintf("there %d", i), "--wait", "delivered", "--timeout", patience)
		r.send("bob", "alice", fmt.Sprintf("back %d", i), "--wait", "delivered", "--timeout", patience)
	}
	r.pause(2*time.Second - time.Since(start))
	after, err := lab.CPU(pid)
	r.check(err)
	if used, took := after-before, time.Since(start); used > took/2 {
		t.Errorf("the server used %s of CPU in %s", used, took)
	}
	for _, user := range []string{"alice", "bob"} {
		if st := r.account(user); !st.Connected {
			t.Errorf("%s lost a connection: %+v", user, st)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	r.check(r.w.KillDaemon(t.Context(), "bob"))
	r.start("bob") // new connections are accepted again
	restore()
	r.settle()
	r.noPanic()
}
