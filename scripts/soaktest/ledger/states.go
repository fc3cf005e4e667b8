package ledger

import "secmsg/rpc/local"

// rank orders the states of a message. Held and queued may alternate; neither comes again once the
// server had the message.
func rank(state string) (int, bool) {
	switch state {
	case local.StateQueued, local.StateHeld:
		return 0, true
	case local.StateAccepted:
		return 1, true
	case local.StateDelivered:
		return 2, true
	case local.StateRead:
		return 3, true
	case local.StateFailed, local.StateExpired:
		return 4, true
	}
	return 0, false
}

// states checks that states only advance, and that each message has reached a final state.
func (c *checker) states() {
	type source struct{ user, source, id string }
	last := map[source]string{}
	for _, s := range c.l.States {
		k := source{s.User, s.Source, s.ID}
		now, known := rank(s.State)
		before, _ := rank(last[k])
		switch {
		case !known:
			c.add(Backward, "%s of %s: %s has the unknown state %q", s.Source, s.User, s.ID, s.State)
		case last[k] != "" && now < before:
			c.add(Backward, "%s of %s: %s goes from %s to %s", s.Source, s.User, s.ID, last[k], s.State)
		case last[k] == local.StateRead && now > before:
			c.add(Backward, "%s of %s: %s goes from %s to %s", s.Source, s.User, s.ID, last[k], s.State)
		}
		last[k] = s.State
	}
	final := map[string]string{} // of outgoing messages, by text
	for _, f := range c.l.Finals {
		if f.Direction == local.DirectionOut {
			final[f.Text] = f.State
		}
	}
	for _, s := range c.l.Sends {
		state, kept := final[s.Text]
		switch {
		case !s.Taken():
		case !kept:
			c.add(Lost, "history of %s lacks the own %q (%s)", s.From, s.Text, s.IDs[0])
		case state != local.StateDelivered && state != local.StateRead:
			c.add(Undecided, "%q (%s) ended as %s", s.Text, s.IDs[0], state)
		}
	}
}
