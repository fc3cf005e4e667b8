package harness

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"secmsg/scripts/soaktest/ledger"
)

// Report describes a run and its results.
type Report struct {
	Seed       uint64             `json:"seed"`
	Users      int                `json:"users"`
	Messages   int                `json:"messages"`
	Taken      int                `json:"taken"`    // messages with an id
	Attempts   int                `json:"attempts"` // commands run to send them
	Exits      map[string]int     `json:"exits"`    // of those commands, by exit code
	Shown      int                `json:"shown"`    // lines printed by consumers
	Again      int                `json:"again"`    // unacknowledged lines that were printed again
	Kills      map[string]int     `json:"kills"`
	Faults     map[string]int     `json:"faults"`
	Duration   float64            `json:"duration_s"`
	Quiet      float64            `json:"quiet_s"` // seconds until everything had arrived
	States     int                `json:"states"`
	Violations []ledger.Violation `json:"violations"`
}

// counts counts the actions of the run.
type counts struct {
	mu                   sync.Mutex
	kills, faults, exits map[string]int // guarded by mu
}

func newCounts() *counts {
	return &counts{kills: map[string]int{}, faults: map[string]int{}, exits: map[string]int{}}
}

func (c *counts) kill(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills[name]++
}

func (c *counts) disturb(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[name]++
}

func (c *counts) exit(code int, killed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprint(code)
	if killed {
		name = "killed"
	}
	c.exits[name]++
}

// report judges a ledger and adds the counts.
func (h *harness) report(l *ledger.Ledger, took, quiet time.Duration) Report {
	h.counts.mu.Lock()
	defer h.counts.mu.Unlock()
	r := Report{
		Seed: h.opt.Seed, Users: h.opt.Users, Messages: h.opt.Messages, Shown: len(l.Shows), States: len(l.States),
		Kills: maps.Clone(h.counts.kills), Faults: maps.Clone(h.counts.faults), Exits: maps.Clone(h.counts.exits),
		Duration: took.Seconds(), Quiet: quiet.Seconds(), Violations: ledger.Check(l),
	}
	for _, s := range l.Sends {
		r.Attempts += s.Attempts
		if s.Taken() {
			r.Taken++
		}
	}
	seen := map[[3]string]bool{}
	for _, s := range l.Shows {
		k := [3]string{s.User, s.Consumer, s.Text}
		if seen[k] {
			r.Again++
		}
		seen[k] = true
	}
	if h.lies != nil {
		for name, n := range map[string]int64{"duplicated": h.lies.Duplicated.Load(), "reordered": h.lies.Reordered.Load(),
			"dropped": h.lies.Dropped.Load(), "flipped": h.lies.Flipped.Load()} {
			if n > 0 {
				r.Faults[name] = int(n)
			}
		}
	}
	return r
}

// maxPrinted bounds the violations printed in the text form.
const maxPrinted = 50

// Text writes the report for people.
func (r Report) Text(w io.Writer) error {
	verdict := "every promise was kept"
	if n := len(r.Violations); n > 0 {
		verdict = fmt.Sprintf("%d promises were broken", n)
	}
	out := fmt.Sprintf("seed %d: %s\n\n", r.Seed, verdict)
	out += fmt.Sprintf("  %-12s %d users, %d messages, %d taken in %d attempts (exit codes: %s)\n", "sent", r.Users, r.Messages, r.Taken, r.Attempts, list(r.Exits))
	out += fmt.Sprintf("  %-12s %d lines, %d of them again because nobody had acknowledged\n", "shown", r.Shown, r.Again)
	out += fmt.Sprintf("  %-12s %d\n", "states told", r.States)
	out += fmt.Sprintf("  %-12s %s\n", "killed", list(r.Kills))
	out += fmt.Sprintf("  %-12s %s\n", "faults", list(r.Faults))
	out += fmt.Sprintf("  %-12s %.0f s, of which %.1f s until all had arrived after the last fault\n", "took", r.Duration, r.Quiet)
	for i, v := range r.Violations {
		if i == maxPrinted {
			out += fmt.Sprintf("  ... and %d more\n", len(r.Violations)-i)
			break
		}
		out += fmt.Sprintf("  %s: %s\n", v.Kind, v.Detail)
	}
	_, err := io.WriteString(w, out)
	return err
}

// list prints counts, by name.
func list(m map[string]int) string {
	out := ""
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%s %d", k, m[k])
	}
	if out == "" {
		return "none"
	}
	return out
}
