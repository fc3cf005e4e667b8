//go:build linux

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"secmsg/crypto/key"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
	"secmsg/scripts/lab"
)

// senders records which devices of alice have sent what reaches bob.
type senders struct {
	mu   sync.Mutex
	seen map[string]int
}

func (s *senders) hooks() lab.FrameHooks {
	return lab.FrameHooks{Deliver: func(account string, envs []*wire.Envelope) []*wire.Envelope {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range envs {
			if isUser(account, "bob") {
				s.seen[deviceName(e.GetSenderDevice())]++
			}
		}
		return envs
	}}
}

// reset returns the devices seen so far and starts again.
func (s *senders) reset() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = map[string]int{}
	return seen
}

// copyTree copies a directory like cp -a.
func (r *rig) copyTree(from, to string) {
	r.t.Helper()
	if out, err := exec.CommandContext(r.t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		r.t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

// Row 7, restored: an old copy of a profile is restored and used. The fence detects it before anything
// is sealed: nothing that reaches bob comes from the old device, and messages flow in both directions
// from a new one.
func TestFault07RestoredProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	s := &senders{seen: map[string]int{}}
	r.frame.Hook(s.hooks())
	r.send("alice", "bob", "one", "--wait", "delivered", "--timeout", patience)
	old := r.account("alice").Device
	r.stop("alice")
	r.copyTree(r.w.Home("alice"), r.w.Home("alice")+".old")
	r.start("alice")
	r.send("alice", "bob", "two", "--wait", "delivered", "--timeout", patience)
	r.stop("alice")
	if seen := s.reset(); len(seen) != 1 {
		t.Fatalf("before the copy bob heard from the devices %v, want one", seen)
	} else if seen[old] == 0 {
		t.Fatalf("bob heard from %v, and the device of alice is %s", seen, old)
	}
	r.check(os.Rename(r.w.Home("alice"), r.w.Home("alice")+".newer"))
	r.check(os.Rename(r.w.Home("alice")+".old", r.w.Home("alice")))

	// A message is waiting when the copy starts.
	r.send("alice", "bob", "three", "--wait", "queued")
	r.connected("alice")
	r.until("bob", "alice", `"three"`)
	if r.account("alice").Device == old {
		t.Error("the old copy continues as the same device")
	}
	r.check(r.run("bob", "welcome back", "send", "alice", "--wait", "delivered", "--timeout", patience).Err())
	if seen := s.reset(); seen[old] > 0 || len(seen) == 0 {
		t.Errorf("after the copy woke up bob heard from the devices %v; %s is the old one", seen, old)
	}
	bob, alice := r.history("bob", "alice"), r.history("alice", "bob")
	for _, text := range []string{"one", "two", "three", "welcome back"} {
		if n := strings.Count(bob, fmt.Sprintf("%q", text)); n != 1 {
			t.Errorf("bob's history has %q %d times", text, n)
		}
	}
	if !strings.Contains(alice, `"welcome back"`) || strings.Contains(alice, `"two"`) {
		t.Errorf("alice's history after the restore:\n%s", alice)
	}
	r.noPanic()
}

// Row 7, restored, from the sender's view: a send that waits when the copy is found to be old continues
// with the new device until it is delivered, and one that comes during the replacement is queued.
func TestFault07SendAcrossReplacement(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.send("alice", "bob", "one", "--wait", "delivered", "--timeout", patience)
	old := r.account("alice").Device
	r.stop("alice")
	r.copyTree(r.w.Home("alice"), r.w.Home("alice")+".old")
	r.start("alice")
	r.send("alice", "bob", "two", "--wait", "delivered", "--timeout", patience)
	r.stop("alice")
	r.check(os.RemoveAll(r.w.Home("alice")))
	r.check(os.Rename(r.w.Home("alice")+".old", r.w.Home("alice")))
	r.w.KillServer()

	// The copy runs and the send waits before a server can detect that the copy is old.
	type end struct {
		res lab.Result
		err error
	}
	waiting := make(chan end, 1)
	go func() {
		res, err := r.w.Run(t.Context(), "alice", "", "send", "bob", "three", "--wait", "delivered", "--timeout", patience, "-o", "json")
		waiting <- end{res, err}
	}()
	r.eventually("the send waits", func() bool { return r.account("alice").Outbox == 1 })
	if now := r.account("alice").Device; now != old {
		t.Fatalf("the copy was replaced without a server: %s", now)
	}
	r.check(r.w.StartServer(t.Context()))
	var during []string
	r.eventually("the device is replaced", func() bool {
		during = append(during, fmt.Sprintf("during %03d", len(during)))
		r.check(r.run("alice", during[len(during)-1], "send", "bob", "--wait", "queued").Err())
		return r.account("alice").Device != old
	})
	e := <-waiting
	r.check(e.err)
	if e.res.Code != 0 || !strings.Contains(e.res.Stdout, `"delivered"`) {
		t.Errorf("the send that waited: exit %d\n%s%s", e.res.Code, e.res.Stdout, e.res.Stderr)
	}
	r.eventually("bob has what was sent meanwhile", func() bool { return strings.Contains(r.history("bob", "alice"), during[len(during)-1]) })
	bob := r.history("bob", "alice")
	for _, text := range append(during, "one", "two", "three") {
		if n := strings.Count(bob, fmt.Sprintf("%q", text)); n != 1 {
			t.Errorf("bob's history has %q %d times", text, n)
		}
	}
	r.noPanic()
}

// Row 7, restored, with mail in flight: messages that the server accepted from a device that is then
// replaced arrive, although the recipient learns of the replacement before it fetches them. The
// restored copy knows one of the messages, and sends it again as the new device; it does not know the
// other one, which can only be read from the old device.
func TestFault07MailInFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	r.send("alice", "bob", "one", "--wait", "delivered", "--timeout", patience)
	r.send("bob", "alice", "yes", "--wait", "delivered", "--timeout", patience)
	old := r.account("alice").Device
	r.stop("bob")
	r.send("alice", "bob", "in flight and in the copy", "--wait", "server", "--timeout", patience)
	r.stop("alice")
	r.copyTree(r.w.Home("alice"), r.w.Home("alice")+".old")
	r.start("alice")
	r.send("alice", "bob", "in flight only", "--wait", "server", "--timeout", patience)
	r.stop("alice")
	r.check(os.RemoveAll(r.w.Home("alice")))
	r.check(os.Rename(r.w.Home("alice")+".old", r.w.Home("alice")))

	// Bob has something queued; by sending it he learns of alice's new device.
	r.w.KillServer()
	_, err := r.w.StartDaemon(t.Context(), "bob")
	r.check(err)
	r.send("bob", "alice", "hello", "--wait", "queued")
	r.stop("bob")
	r.check(r.w.StartServer(t.Context()))
	r.start("alice")
	r.connected("alice")
	if r.account("alice").Device == old {
		t.Fatal("the old copy continues as the same device")
	}
	var learned atomic.Bool
	r.frame.Hook(lab.FrameHooks{Deliver: func(account string, envs []*wire.Envelope) []*wire.Envelope {
		if isUser(account, "bob") && !learned.Load() {
			return nil // it comes again on the next connection
		}
		return envs
	}})
	r.start("bob")
	r.eventually("bob learns of the new device", func() bool {
		res := r.run("bob", "", "listen", "--since", "0", "--type", "identity", "--timeout", "300ms", "-o", "json")
		return strings.Contains(res.Stdout, local.ChangeDeviceRemoved)
	})
	learned.Store(true)
	r.stop("bob")
	r.start("bob")
	r.until("bob", "alice", "in flight and in the copy")
	r.until("bob", "alice", "in flight only")
	r.until("alice", "bob", `"hello"`)
	r.eventually("the sender is told", func() bool {
		list, err := lab.DecodeEvents(r.history("alice", "bob"))
		r.check(err)
		for _, e := range list {
			if e.Message != nil && e.Message.Text == "in flight and in the copy" {
				return e.Message.State == local.StateDelivered
			}
		}
		return false
	})
	r.send("alice", "bob", "two", "--wait", "delivered", "--timeout", patience)
	bob := r.history("bob", "alice")
	for _, text := range []string{"one", "in flight and in the copy", "in flight only", "two"} {
		if n := strings.Count(bob, fmt.Sprintf("%q", text)); n != 1 {
			t.Errorf("bob's history has %q %d times", text, n)
		}
	}
	r.noPanic()
}

// Row 7, cloned: a second copy runs beside the first. It stays disconnected and reports why, sends
// nothing, and the first is not disturbed.
func TestFault07ClonedProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	s := &senders{seen: map[string]int{}}
	r.frame.Hook(s.hooks())
	r.stop("alice")
	r.copyTree(r.w.Home("alice"), r.w.Home("clone"))
	r.start("alice")
	device := r.account("alice").Device
	_, err := r.w.StartDaemon(t.Context(), "clone")
	r.check(err)
	r.check(r.run("clone", "from the clone", "send", "bob", "--wait", "queued").Err())
	r.eventually("the clone stops", func() bool {
		e := r.account("clone").Error
		return e != nil && e.Code == local.CodeRefused
	})
	r.send("alice", "bob", "from the first", "--wait", "delivered", "--timeout", patience)
	if st := r.account("alice"); !st.Connected || st.Device != device {
		t.Errorf("the first copy was disturbed: %+v", st)
	}
	if got := r.history("bob", "alice"); strings.Contains(got, "from the clone") {
		t.Errorf("bob received a message from the clone:\n%s", got)
	}
	r.stop("alice", "clone")
	if seen := s.reset(); len(seen) != 1 || seen[device] == 0 {
		t.Errorf("bob heard from the devices %v, want %s only", seen, device)
	}
	// When the first copy is gone, the second becomes a separate device.
	r.start("clone")
	r.until("bob", "alice", "from the clone")
	if seen := s.reset(); seen[device] > 0 {
		t.Errorf("the clone sealed as the device of the first: %v", seen)
	}
	r.noPanic()
}

// deviceName is a device id as printed by the status.
func deviceName(id []byte) string {
	var d key.DeviceID
	copy(d[:], id)
	return d.String()
}
