package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"secmsg/rpc/local"
)

// checker collects violations.
type checker struct {
	l      *Ledger
	byText map[string]*Send
	found  []Violation
}

func (c *checker) add(kind, format string, args ...any) {
	c.found = append(c.found, Violation{Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

// Check judges a run that had settled at its end: every taken message had the time to arrive.
func Check(l *Ledger) []Violation {
	c := &checker{l: l, byText: map[string]*Send{}}
	for i := range l.Sends {
		s := &l.Sends[i]
		c.byText[s.Text] = s
		for _, id := range s.IDs {
			if id != s.IDs[0] {
				c.add(Twice, "%s: attempts of one send returned the ids %s and %s", s.Text, s.IDs[0], id)
			}
		}
	}
	c.consumers()
	c.histories()
	c.states()
	return c.found
}

// known finds the send of a text that was shown to user, and compares the ids.
func (c *checker) known(where, user, text, id string) *Send {
	s := c.byText[text]
	if s == nil || s.To != user {
		c.add(Invented, "%s: %q was never sent to %s", where, text, user)
		return nil
	}
	if s.Taken() && s.IDs[0] != id {
		c.add(Invented, "%s: %q has the id %s, and send returned %s", where, text, id, s.IDs[0])
	}
	return s
}

// consumer identifies one durable consumer.
type consumer struct{ user, name string }

// progress is the position of a consumer.
type progress struct {
	run    int
	last   int64            // seq of the previous line
	places map[string]int64 // text → seq
	order  map[string]int   // sender → index in l.Sends of the newest line
}

// consumers checks every line of every consumer, then that none is missing.
func (c *checker) consumers() {
	index := map[string]int{}
	for i, s := range c.l.Sends {
		index[s.Text] = i
	}
	seen := map[consumer]*progress{}
	places := map[string]map[string]int64{} // user → text → seq: the same for all consumers
	for _, s := range c.l.Shows {
		k := consumer{s.User, s.Consumer}
		p := seen[k]
		if p == nil {
			p = &progress{places: map[string]int64{}, order: map[string]int{}}
			seen[k] = p
		}
		where := fmt.Sprintf("consumer %s of %s, run %d, seq %d", s.Consumer, s.User, s.Run, s.Seq)
		send := c.known(where, s.User, s.Text, s.ID)
		if places[s.User] == nil {
			places[s.User] = map[string]int64{}
		}
		if at, ok := places[s.User][s.Text]; ok && at != s.Seq {
			c.add(Twice, "%s: %q was shown before, as seq %d", where, s.Text, at)
		}
		places[s.User][s.Text] = s.Seq
		repeated := c.line(where, p, k, s)
		p.places[s.Text] = s.Seq
		if send == nil || !send.Taken() || repeated || c.l.Reordered {
			continue
		}
		if newest, ok := p.order[send.From]; ok && index[s.Text] < newest {
			c.add(Disorder, "%s: %q comes after %q", where, s.Text, c.l.Sends[newest].Text)
		}
		p.order[send.From] = index[s.Text]
	}
	keys := slices.SortedFunc(maps.Keys(seen), func(a, b consumer) int {
		return cmp.Or(strings.Compare(a.user, b.user), strings.Compare(a.name, b.name))
	})
	for _, k := range keys {
		p := seen[k]
		for _, s := range c.l.Sends {
			if _, ok := p.places[s.Text]; !ok && s.To == k.user && s.Taken() {
				c.add(Lost, "consumer %s of %s was not shown %q (%s)", k.name, k.user, s.Text, s.IDs[0])
			}
		}
	}
}

// line checks the position of one line in its consumer's stream. Within a run seqs grow. A new run may
// start at the first unacknowledged event, but not before it.
func (c *checker) line(where string, p *progress, k consumer, s Show) (repeated bool) {
	if s.Run != p.run {
		floor := int64(0)
		for _, a := range c.l.Acks {
			if a.User == k.user && a.Consumer == k.name && a.Before <= s.Run {
				floor = max(floor, a.Seq)
			}
		}
		if s.Seq <= floor {
			c.add(Twice, "%s: shown again after seq %d was acknowledged", where, floor)
		}
		p.run, p.last = s.Run, 0
	}
	if s.Seq <= p.last {
		c.add(Twice, "%s: comes after seq %d of the same run", where, p.last)
	}
	p.last = s.Seq
	_, repeated = p.places[s.Text]
	return repeated
}

// histories checks the histories of both sides.
func (c *checker) histories() {
	type book struct{ user, peer string }
	kept := map[book]map[string]bool{}
	order := map[book]int{}
	index := map[string]int{}
	for i, s := range c.l.Sends {
		index[s.Text] = i
	}
	for _, f := range c.l.Finals {
		if f.Direction == local.DirectionOut {
			continue
		}
		b := book{f.User, f.Peer}
		if kept[b] == nil {
			kept[b] = map[string]bool{}
		}
		where := fmt.Sprintf("history of %s with %s", f.User, f.Peer)
		if kept[b][f.Text] {
			c.add(Twice, "%s: %q occurs twice", where, f.Text)
			continue
		}
		kept[b][f.Text] = true
		if s := c.known(where, f.User, f.Text, f.ID); s == nil || !s.Taken() {
			continue
		}
		if newest, ok := order[b]; ok && index[f.Text] < newest {
			c.add(Disorder, "%s: %q comes after %q", where, f.Text, c.l.Sends[newest].Text)
		}
		order[b] = index[f.Text]
	}
	for _, s := range c.l.Sends {
		if s.Taken() && !kept[book{s.To, s.From}][s.Text] {
			c.add(Lost, "history of %s with %s lacks %q (%s)", s.To, s.From, s.Text, s.IDs[0])
		}
	}
}
