//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

// Row 7, restored again and again, in both directions, with messages, files and receipts in flight and
// kills in between: everything is shown once and in the order of sending, every sender gets
// "delivered", and nobody gets an event about a clone or a missing message.
func TestFault07ReplacedAgainAndAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	sent := map[string][]string{} // by sender
	send := func(from, to string, n int, wait string) {
		for range n {
			text := fmt.Sprintf("%s %03d", from, len(sent[from]))
			r.check(r.run(from, text, "send", to, "--wait", wait, "--timeout", patience).Err())
			sent[from] = append(sent[from], text)
		}
	}
	file := func(from, to string) {
		name := fmt.Sprintf("%s %03d", from, len(sent[from]))
		path := filepath.Join(t.TempDir(), name)
		r.check(os.WriteFile(path, []byte(name), 0o600))
		r.check(r.run(from, "", "file", "send", to, path, "--wait", "server", "--timeout", patience).Err())
		sent[from] = append(sent[from], name)
	}
	kill := func(user string) { r.check(r.w.KillDaemon(t.Context(), user)) }
	start := func(user string) {
		_, err := r.w.StartDaemon(t.Context(), user)
		r.check(err)
	}
	for round, u := range []string{"alice", "bob", "bob", "alice"} {
		v := map[string]string{"alice": "bob", "bob": "alice"}[u]
		send(v, u, 1, "delivered")
		send(u, v, 2, "delivered")
		kill(v)
		send(u, v, 2, "server") // in the mailbox and in the copy
		file(u, v)
		old := r.account(u).Device
		kill(u)
		home := r.w.Home(u)
		r.copyTree(home, home+".old")
		r.start(u)
		send(u, v, 2, "server") // in the mailbox only: the copy does not know them
		kill(u)
		r.check(os.RemoveAll(home))
		r.check(os.Rename(home+".old", home))

		// Messages and receipts that v sends now wait for a device that will not come back.
		r.start(v)
		r.until(v, u, sent[u][len(sent[u])-1])
		send(v, u, 2, "server")
		file(v, u)
		if round%2 == 0 {
			kill(v)
		}
		r.start(u)
		kill(u) // at a random moment while it finds out
		r.start(u)
		r.eventually(u+" has a new device", func() bool { return r.account(u).Device != old })
		if round%2 == 0 {
			start(v)
		}
		send(u, v, 1, "queued")
		send(v, u, 1, "queued")
		kill(v)
		kill(u)
		r.start(u, v)
		send(u, v, 1, "delivered")
		send(v, u, 1, "delivered")
	}
	for _, ends := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
		from, to := ends[0], ends[1]
		ctx, cancel := context.WithTimeout(t.Context(), settleTime)
		defer cancel()
		_ = lab.Poll(ctx, "all is there", func() bool { return len(r.shownOf(to, from)) >= len(sent[from]) }) // the comparison reports missing ones
		got := r.shownOf(to, from)
		if !slices.Equal(got, sent[from]) {
			t.Errorf("%s shows of %s\n%q\nwant\n%q", to, from, got, sent[from])
		}
		events, err := lab.DecodeEvents(r.run(to, "", "listen", "--since", "0", "--timeout", "3s", "-o", "json").Stdout)
		r.check(err)
		seen := map[string]int{}
		for _, e := range events {
			switch {
			case e.Identity != nil && (e.Identity.Change == local.ChangeClone || e.Identity.Change == local.ChangeMismatch):
				t.Errorf("%s has an identity event: %+v", to, *e.Identity)
			case e.System != nil && e.System.Gap != nil:
				t.Errorf("%s misses %+v", to, *e.System.Gap)
			case e.Direction == local.DirectionIn && e.Message != nil:
				seen[e.Message.Text]++
			}
		}
		for text, n := range seen {
			if n != 1 {
				t.Errorf("%s is shown %q %d times", to, text, n)
			}
		}
		r.eventually("what "+from+" knows to be sent is delivered", func() bool {
			list, err := lab.DecodeEvents(r.history(from, to))
			r.check(err)
			return !slices.ContainsFunc(list, func(e local.Event) bool {
				return e.Direction == local.DirectionOut && e.Message != nil && e.Message.State != local.StateDelivered
			})
		})
	}
	r.noPanic()
}

// shownOf returns the texts and the names of files of a peer in the order of history.
func (r *rig) shownOf(user, peer string) (out []string) {
	r.t.Helper()
	list, err := lab.DecodeEvents(r.history(user, peer))
	r.check(err)
	for _, e := range list {
		switch {
		case e.Direction != local.DirectionIn:
		case e.File != nil:
			out = append(out, e.File.Name)
		case e.Message != nil:
			out = append(out, e.Message.Text)
		}
	}
	return out
}
