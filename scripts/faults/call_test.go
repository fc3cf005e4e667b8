//go:build linux

package faults

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

// sound is an audio call.
func sound() []string { return []string{"--audio-in", "test", "--audio-out", "null"} }

// TestCallServerKilled: the server is killed during a call. The call continues, and ends properly when
// the server is back.
func TestCallServerKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	alice, bob := r.talk(sound(), sound())
	r.hears("bob")
	r.w.KillServer()
	r.hears("bob")
	r.hears("alice")
	r.check(r.w.StartServer(t.Context()))
	r.connected("alice", "bob")
	r.hears("bob")
	r.run("bob", "", "call", "hangup")
	for name, cmd := range map[string]*running{"alice": alice, "bob": bob} {
		res := cmd.wait(callEnd)
		if c := r.lastCall(res.Stdout); res.Code != 0 || c.State != local.CallEnded || c.Reason != local.CallHangup {
			t.Errorf("%s: exit %d, %+v\n%s", name, res.Code, c, res.Stderr)
		}
	}
	r.noPanic()
}

// TestCallHangupWithoutServer: a hang-up while the server is down cannot be signalled; the end of the
// connection ends the call on both sides.
func TestCallHangupWithoutServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	alice, bob := r.talk(sound(), sound())
	r.w.KillServer()
	r.hears("bob")
	r.run("bob", "", "call", "hangup")
	began := time.Now()
	for name, cmd := range map[string]*running{"alice": alice, "bob": bob} {
		res := cmd.wait(callEnd)
		if c := r.lastCall(res.Stdout); res.Code != 0 || c.Reason != local.CallHangup || strings.Contains(res.Stdout, `"reconnecting"`) {
			t.Errorf("%s: exit %d, %+v\n%s", name, res.Code, c, res.Stderr)
		}
	}
	t.Logf("both have ended after %s", time.Since(began).Round(time.Millisecond))
	r.noPanic()
}

// TestCallDaemonKilledWhileItRings: the call is not lost. The restarted daemon reports it as missed,
// the call rings again, and once answered it is no missed call.
func TestCallDaemonKilledWhileItRings(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	rings := func() bool {
		all := r.calls("bob")
		return len(all) == 1 && all[0].Call.State == local.CallRinging
	}
	alice := r.begin("alice", append([]string{"call", "start", "bob", "-o", "json"}, sound()...)...)
	r.eventually("it rings", rings)
	r.check(r.w.KillDaemon(t.Context(), "bob"))
	r.start("bob")
	list := func() []local.Call {
		out, err := r.w.Must(t.Context(), "bob", "", "call", "list", "-o", "json")
		r.check(err)
		var all []local.Call
		for line := range strings.Lines(out) {
			all = append(all, r.lastCall(line))
		}
		return all
	}
	r.eventually("the missed call is told", func() bool { return len(list()) == 1 })
	if c := list()[0]; !c.Missed || c.Reason != local.CallDaemonRestart {
		t.Errorf("at the return: %+v", c)
	}
	r.eventually("it rings again", rings)
	bob := r.begin("bob", append([]string{"call", "answer", "-o", "json"}, sound()...)...)
	r.inCall("alice")
	r.run("alice", "", "call", "hangup")
	for name, cmd := range map[string]*running{"alice": alice, "bob": bob} {
		if res := cmd.wait(callEnd); res.Code != 0 {
			t.Errorf("%s: exit %d\n%s", name, res.Code, res.Stderr)
		}
	}
	if all := list(); len(all) != 1 || all[0].Missed || all[0].Reason != local.CallHangup {
		t.Errorf("in the end: %+v", all)
	}
	r.noPanic()
}

// TestCallDaemonKilled: the daemon of one side is killed. Its command reports it, the other side's call
// ends, and after the restart the daemon is in no call.
func TestCallDaemonKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	alice, bob := r.talk(sound(), sound())
	r.check(r.w.KillDaemon(t.Context(), "alice"))
	if res := alice.wait(callEnd); res.Code != 7 {
		t.Errorf("alice: exit %d\n%s", res.Code, res.Stderr)
	}
	r.start("alice")
	if left := r.calls("alice"); len(left) > 0 {
		t.Errorf("alice is still in %+v", left)
	}
	res := bob.wait(callEnd)
	if c := r.lastCall(res.Stdout); c.State != local.CallEnded {
		t.Errorf("bob: exit %d, %+v\n%s", res.Code, c, res.Stderr)
	}
	// The old call does not obstruct a new one.
	alice, bob = r.talk(sound(), sound())
	r.hears("bob")
	r.run("alice", "", "call", "hangup")
	if res := alice.wait(callEnd); res.Code != 0 {
		t.Errorf("the second call, alice: exit %d\n%s", res.Code, res.Stderr)
	}
	if res := bob.wait(callEnd); res.Code != 0 {
		t.Errorf("the second call, bob: exit %d\n%s", res.Code, res.Stderr)
	}
	r.noPanic()
}

// traces are typical parts of an SDP, a candidate or a fingerprint.
func traces() []string {
	return []string{"v=0\r\n", "m=audio", "a=fingerprint", "a=ice-ufrag", "a=ice-pwd", "a=setup", "candidate:", "typ host", "typ srflx", "typ relay", "sha-256", "opus/48000"}
}

// TestCallIsSealed (crypto/ATTACKS.md, F2): a server that keeps all frames of a call, and the server's
// directory afterwards, contain no SDP, no candidate and no fingerprint.
func TestCallIsSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{frames: true})
	var mu sync.Mutex
	var seen bytes.Buffer
	frames := 0
	r.connected("alice", "bob")
	r.frame.Hook(lab.FrameHooks{
		Frame: func(f lab.Frame) ([][]byte, bool) {
			mu.Lock()
			defer mu.Unlock()
			frames++
			seen.Write(f.Data)
			return [][]byte{f.Data}, false
		},
		REST: func(_, path string, _ int, body []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			seen.Write(body)
			return body
		},
	})
	alice, bob := r.talk(sound(), sound())
	r.hears("bob")
	r.run("alice", "", "call", "hangup")
	alice.wait(callEnd)
	bob.wait(callEnd)

	mu.Lock()
	defer mu.Unlock()
	// An offer, an answer, candidates and an end went each way, with their acknowledgements.
	if frames < 6 || !bytes.Contains(seen.Bytes(), []byte("bob")) {
		t.Fatalf("%d frames of the call were seen", frames)
	}
	for _, s := range traces() {
		if bytes.Contains(seen.Bytes(), []byte(s)) {
			t.Errorf("a frame contains %q", s)
		}
	}
	files := 0
	r.check(filepath.WalkDir(r.w.ServerDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, s := range traces() {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s contains %q", path, s)
			}
		}
		return err
	}))
	if files == 0 {
		t.Error("the server's directory is empty")
	}
	log, err := os.ReadFile(r.w.ServerLog())
	r.check(err)
	for _, s := range traces() {
		if bytes.Contains(log, []byte(s)) {
			t.Errorf("the server's log contains %q", s)
		}
	}
}

// TestCallWithoutEncoders: the released program is built without cgo. It reports what it cannot do
// before anybody's device rings.
func TestCallWithoutEncoders(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	for _, args := range [][]string{{"--video-in", "test"}, {"--audio-in", "device"}, {}} {
		res := r.run("alice", "", append([]string{"call", "start", "bob"}, args...)...)
		if res.Code != 1 || !strings.Contains(res.Stderr, "cgo") {
			t.Errorf("%q: exit %d\n%s", args, res.Code, res.Stderr)
		}
	}
	if out, err := r.w.Must(t.Context(), "bob", "", "call", "list"); err != nil || out != "" {
		t.Errorf("bob was called: %q, %v", out, err)
	}
}
