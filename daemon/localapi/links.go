package localapi

import (
	"strings"
	"time"

	"secmsg/rpc/local"
)

// linkTeller notifies a subscriber that asked for it when the server of an account becomes
// unreachable or reachable. It is owned by the subscription's goroutine.
type linkTeller struct {
	c       *conn
	account string          // empty: all accounts
	changed <-chan struct{} // nil: not subscribed to links
	wanted  bool
	down    map[string]bool // accounts last reported as disconnected
}

func newLinkTeller(c *conn, p local.SubscribeParams) *linkTeller {
	return &linkTeller{c: c, account: p.Account, wanted: p.Links, down: map[string]bool{}}
}

// tell sends the changes since the last call.
func (t *linkTeller) tell() error {
	if !t.wanted {
		return nil
	}
	links, changed := t.c.s.backend.Links()
	t.changed = changed
	for _, l := range links {
		user, _, _ := strings.Cut(l.Account, "@")
		if t.account != "" && t.account != l.Account && t.account != user || l.Connected == !t.down[l.Account] {
			continue
		}
		t.down[l.Account] = !l.Connected
		if err := t.c.writeLine(notification{"2.0", local.NotifyLink, l}, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}
