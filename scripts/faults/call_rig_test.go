//go:build linux

package faults

import (
	"encoding/json"
	"strings"
	"time"

	"secmsg/rpc/local"
)

// callEnd bounds how long a command may take to end after its call has: the
// search for another way takes 30 s.
const callEnd = time.Minute

// callLine is a line that call status and the other verbs of calls print.
type callLine struct {
	Peer string     `json:"peer"`
	Call local.Call `json:"call"`
}

// talk has alice call bob, who answers by himself, and waits until both are connected.
func (r *rig) talk(start, answer []string) (alice, bob *running) {
	r.t.Helper()
	r.connected("alice", "bob")
	bob = r.begin("bob", append([]string{"call", "answer", "--auto", "--from", "alice", "-o", "json"}, answer...)...)
	alice = r.begin("alice", append([]string{"call", "start", "bob", "-o", "json"}, start...)...)
	r.inCall("alice")
	r.inCall("bob")
	return alice, bob
}

// calls are those of a user that have not ended.
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

// heard is how many packets of sound have come to a user.
func (r *rig) heard(user string) uint64 {
	r.t.Helper()
	for _, one := range r.calls(user) {
		if s := one.Call.Stats; s != nil && s.AudioIn != nil {
			return s.AudioIn.Packets
		}
	}
	return 0
}

// hears waits until much more sound has come to a user than until now: media flow.
func (r *rig) hears(user string) {
	r.t.Helper()
	const more = 100 // 2 s
	from := r.heard(user)
	r.eventually(user+" hears the other", func() bool { return r.heard(user) > from+more })
}

// lastCall is the end of what call start or call answer printed with -o json.
func (r *rig) lastCall(out string) local.Call {
	r.t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var e local.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Call == nil {
		r.t.Fatalf("the last line of a call is %q: %v", lines[len(lines)-1], err)
	}
	return *e.Call
}
