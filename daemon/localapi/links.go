package localapi

import (
	"strings"
	"time"

	"secmsg/rpc/local"
)

// linkTeller tells a subscriber who wants to know when the server goes and when
// it comes back. Its subscription's goroutine owns it.
type linkTeller struct {
	c       *conn
	account string          // empty: all
	changed <-chan struct{} // nil for a subscriber who does not want to know
	wanted  bool
	down    map[string]bool // by account: the subscriber was told so
}

func newLinkTeller(c *conn, p local.SubscribeParams) *linkTeller {
	return &linkTeller{c: c, account: p.Account, wanted: p.Links, down: map[string]bool{}}
}

// tell sends what has changed since the last time.
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
