//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

const (
	// insideEnv marks the process that has its own network.
	insideEnv = "SECMSG_FAULTS_NETNS"
	// insideLimit bounds that process.
	insideLimit = 9 * time.Minute
	// directTries is how many calls may be made until one is direct: the relay is chosen half a second
	// after it is found, but the direct path may take longer on a busy machine.
	directTries = 5
	// callServer is the server's address; no client shares a network with it.
	callServer = "10.9.0.1"
)

// TestCallNamespaces: two devices in separate networks, both with a route to the server but none to
// each other, talk through the media server. With a route between them they talk directly, unless one
// of them wants only the relay.
func TestCallNamespaces(t *testing.T) {
	t.Parallel()
	n := inside(t)
	if n == nil {
		return
	}
	r := n.rig(t)

	n.route(t, false)
	if c := r.namespaceCall(sound(), sound()); c.Stats.Pair != "relayed" {
		t.Errorf("without a route: %s", c.Stats.Pair)
	}
	n.route(t, true)
	r.direct(func() string { return r.namespaceCall(sound(), sound()).Stats.Pair })
	only := append(sound(), "--relay-only")
	if c := r.namespaceCall(only, sound()); c.Stats.Pair != "relayed" {
		t.Errorf("relay only at the caller: %s", c.Stats.Pair)
	}
	if c := r.namespaceCall(sound(), only); c.Stats.Pair != "relayed" {
		t.Errorf("relay only at the callee: %s", c.Stats.Pair)
	}
}

// TestCallFindsAnotherPath: two devices that talk lose their direct path; a restart through their
// ratchet finds the one over the media server, and the call continues.
func TestCallFindsAnotherPath(t *testing.T) {
	t.Parallel()
	n := inside(t)
	if n == nil {
		return
	}
	r := n.rig(t)
	n.route(t, true)
	var alice, bob *running
	r.direct(func() string {
		if alice != nil {
			r.run("bob", "", "call", "hangup")
			alice.wait(callEnd)
			bob.wait(callEnd)
		}
		alice, bob = r.talk(sound(), sound())
		return r.inCall("alice").Stats.Pair
	})
	began := time.Now()
	n.route(t, false)
	for _, user := range []string{"alice", "bob"} {
		r.eventually(user+" is relayed", func() bool {
			all := r.calls(user)
			return len(all) == 1 && all[0].Call.State == local.CallConnected && all[0].Call.Stats != nil && all[0].Call.Stats.Pair == "relayed"
		})
	}
	t.Logf("relayed after %s", time.Since(began).Round(time.Millisecond))
	r.hears("alice")
	r.hears("bob")
	r.run("bob", "", "call", "hangup")
	noticed := false // by the first to hear nothing; the other one may just follow
	for name, cmd := range map[string]*running{"alice": alice, "bob": bob} {
		res := cmd.wait(callEnd)
		noticed = noticed || strings.Contains(res.Stdout, `"reconnecting"`)
		if c := r.lastCall(res.Stdout); res.Code != 0 || c.Reason != local.CallHangup {
			t.Errorf("%s: exit %d, %+v\n%s", name, res.Code, c, res.Stderr)
		}
	}
	if !noticed {
		t.Error("neither side noticed the loss of the path")
	}
}

// direct makes calls until one is direct.
func (r *rig) direct(call func() string) {
	r.t.Helper()
	for range directTries {
		if pair := call(); pair == "direct" {
			return
		}
	}
	r.t.Fatalf("of %d calls with a route between the two none was direct", directTries)
}

// inside returns the test's own network. Outside of it, inside runs the test again within it, and
// returns nil.
func inside(t *testing.T) *network {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes under faults")
	}
	if os.Getenv(insideEnv) == "" {
		outside(t)
		return nil
	}
	return newNetwork(t)
}

// outside runs this test again in a user namespace with its own network.
func outside(t *testing.T) {
	for _, tool := range []string{"unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: no %s on this machine (Debian: util-linux, iproute2)", tool)
		}
	}
	if out, err := exec.Command("unshare", "-rn", "ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: network namespaces are refused here: %v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), insideLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "-rn", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("the test did not run:\n%s", out)
	}
}

// network is this namespace, which has the server, and two namespaces behind it.
type network struct {
	holders map[string]int // user to a process in the user's namespace
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

func newNetwork(t *testing.T) *network {
	n := &network{holders: map[string]int{}}
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "addr", "add", callServer+"/32", "dev", "lo")
	for i, user := range []string{"alice", "bob"} {
		// The namespace lives as long as this process, which waits for input.
		hold := exec.Command("unshare", "-n", "sh", "-c", "echo && cat")
		in, err := hold.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := hold.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := hold.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(in.Close(), hold.Wait()) })
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		n.holders[user] = hold.Process.Pid
		pid, near, far := strconv.Itoa(hold.Process.Pid), fmt.Sprintf("10.%d.0.1", i+1), fmt.Sprintf("10.%d.0.2", i+1)
		command(t, "ip", "link", "add", user, "type", "veth", "peer", "name", "eth0", "netns", pid)
		command(t, "ip", "addr", "add", near+"/24", "dev", user)
		command(t, "ip", "link", "set", user, "up")
		for _, args := range [][]string{
			{"link", "set", "lo", "up"}, {"addr", "add", far + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"route", "add", "default", "via", near},
		} {
			command(t, append([]string{"nsenter", "-t", pid, "-n", "ip"}, args...)...)
		}
	}
	return n
}

// route opens or closes the path between the two.
func (n *network) route(t *testing.T, open bool) {
	t.Helper()
	value := "0"
	if open {
		value = "1"
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0o644); err != nil {
		t.Skipf("SKIPPED: forwarding cannot be changed here: %v", err)
	}
}

// rig is a world whose daemons run in the namespaces of their users. Commands reach them over Unix
// sockets, which do not depend on the network namespace.
func (n *network) rig(t *testing.T) *rig {
	t.Helper()
	w, err := lab.New(t.Context(), lab.Options{
		Binary: os.Getenv(binaryEnv), Domain: "chat.test", Listen: "0.0.0.0:8443", Entry: callServer + ":8443",
		ServerEnv: append(lab.RaisedLimits(), "SECMSG_MEDIA_LISTEN="+callServer+":3478", "SECMSG_MEDIA_PUBLIC_ADDRESS="+callServer),
		ClientEnv: clientEnv(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, w: w}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Logs(3000))
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for user, pid := range n.holders {
		n.daemon(r, user, pid)
	}
	for user := range n.holders {
		r.check(w.Join(t.Context(), user))
	}
	r.check(w.Befriend(t.Context(), "alice", "bob"))
	return r
}

// daemon runs a user's daemon in the user's namespace.
func (n *network) daemon(r *rig, user string, pid int) {
	r.t.Helper()
	r.check(os.MkdirAll(r.w.Home(user), 0o700))
	log, err := os.Create(filepath.Join(r.w.Home(user), "daemon.log"))
	r.check(err)
	defer log.Close()
	// Not the test's context, which ends before the clean-up that stops the daemon.
	cmd := r.w.Command(context.Background(), user, "daemon", "run")
	args := cmd.Args[1:]
	path, err := exec.LookPath("nsenter")
	r.check(err)
	cmd.Path, cmd.Args = path, append([]string{"nsenter", "-t", strconv.Itoa(pid), "-n", r.w.Binary()}, args...)
	cmd.Stdout, cmd.Stderr = log, log
	r.check(cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r.t.Cleanup(func() {
		_ = r.w.StopDaemon(context.Background(), user) // Close reports it, too
		<-done
	})
	r.eventually("the daemon of "+user+" answers", func() bool {
		return r.run(user, "", "--no-autostart", "daemon", "status").Code == 0
	})
}

// namespaceCall makes a call, listens for a while, and returns its final state.
func (r *rig) namespaceCall(start, answer []string) local.Call {
	r.t.Helper()
	alice, bob := r.talk(start, answer)
	r.hears("alice")
	r.hears("bob")
	r.run("alice", "", "call", "hangup")
	if res := bob.wait(callEnd); res.Code != 0 {
		r.t.Errorf("bob: exit %d\n%s", res.Code, res.Stderr)
	}
	res := alice.wait(callEnd)
	c := r.lastCall(res.Stdout)
	if res.Code != 0 || c.Stats == nil {
		r.t.Fatalf("alice: exit %d, %+v\n%s", res.Code, c, res.Stderr)
	}
	return c
}
