//go:build linux

package faults

import (
	"encoding/json"
	"strings"
	"time"

	"secmsg/rpc/local"
)

// callEnd bounds how long a command may take to end after its call has ended: the search for another
// path takes 30 s.
const callEnd = time.Minute

// callLine is a line printed by call status and the other call commands.
type callLine struct {
	Peer string     `json:"peer"`
	Call local.Call `json:"call"`
}

// talk has alice call bob, whose daemon answers automatically, and waits until both are connected.
func (r *rig) talk(start, answer []string) (alice, bob *running) {
	r.t.Helper()
	r.connected("alice", "bob")
	bob = r.begin("bob", append([]string{"call", "answer", "--auto", "--from", "alice", "-o", "json"}, answer...)...)
	alice = r.begin("alice", append([]string{"call", "start", "bob", "-o", "json"}, start...)...)
	r.inCall("alice")
	r.inCall("bob")
	return alice, bob
}

// calls returns a user's calls that have not ended.
func (r *rig) calls(user string) []callLine {
	r.t.Helper()
	out, err := r.w.Must(r.t.Context(), user, "", "call", "status", "-o", "json")
	r.check(err)
	var all []callLine
	for line := range strings.Lines(out) {
		var one callLine
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			r.t.Fatalf("call status printed %q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

// inCall waits until a user's call is connected, and returns it.
func (r *rig) inCall(user string) (c local.Call) {
	r.t.Helper()
	r.eventually(user+" is in a call", func() bool {
		for _, one := range r.calls(user) {
			if one.Call.State == local.CallConnected && one.Call.Stats != nil {
				c = one.Call
				return true
			}
		}
		return false
	})
	return c
}

// heard returns the number of audio packets that a user has received.
func (r *rig) heard(user string) uint64 {
	r.t.Helper()
	for _, one := range r.calls(user) {
		if s := one.Call.Stats; s != nil && s.AudioIn != nil {
			return s.AudioIn.Packets
		}
	}
	return 0
}

// hears waits until a user receives more sound: media flow.
func (r *rig) hears(user string) {
	r.t.Helper()
	const more = 100 // 2 s
	from := r.heard(user)
	r.eventually(user+" hears the other", func() bool { return r.heard(user) > from+more })
}

// lastCall returns the final state printed by call start or call answer with -o json.
func (r *rig) lastCall(out string) local.Call {
	r.t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var e local.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Call == nil {
		r.t.Fatalf("the last line of a call is %q: %v", lines[len(lines)-1], err)
	}
	return *e.Call
}
