package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// linkWatch passes a link's calls on to the engine and keeps account of the
// connections, of which the service manager is told.
type linkWatch struct {
	link.Handler
	account *account
}

// Up implements link.Handler.
func (w linkWatch) Up(role wire.Role, serverTime time.Time) {
	w.Handler.Up(role, serverTime)
	w.account.setUp(role, true)
}

// Down implements link.Handler.
func (w linkWatch) Down(role wire.Role, err error) {
	w.Handler.Down(role, err)
	w.account.setUp(role, false)
}

func (a *account) setUp(role wire.Role, up bool) {
	a.mu.Lock()
	if role == wire.RoleContact {
		a.contactUp = up
	} else {
		a.replicaUp = up
	}
	a.mu.Unlock()
	a.daemon.statusChanged()
}

// isUp reports whether both connections of the account stand.
func (a *account) isUp() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.contactUp && a.replicaUp
}

// changes tells any number of watchers that something has changed. A watcher
// takes the channel first and looks then, so that it misses nothing.
type changes struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; closed at the next change; nil if nobody asked
}

// next returns the channel that is closed at the next change.
func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// statusChanged wakes those who watch the state of the accounts. It never waits.
func (d *Daemon) statusChanged() { d.changed.tell() }

// Links implements localapi.Backend.
func (d *Daemon) Links() ([]local.Link, <-chan struct{}) {
	changed := d.changed.next()
	var out []local.Link
	for _, a := range d.running() {
		e, _ := a.parts()
		l := local.Link{Account: a.address.String(), Connected: a.receives()}
		switch why := a.stoppedWhy(); {
		case l.Connected:
		case why != nil:
			l.Error = why
		case e.Tried():
			l.Error = e.Away()
		default:
			continue // not known yet
		}
		out = append(out, l)
	}
	return out, changed
}

// receives reports whether the connection stands on which events come.
func (a *account) receives() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replicaUp
}

// tellStatus keeps the line current that `systemctl status` shows, until ctx ends.
func (d *Daemon) tellStatus(ctx context.Context) {
	last := ""
	for {
		changed := d.changed.next()
		if line := d.statusLine(); line != last {
			last = line
			tell(d.logger, "STATUS="+line)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// statusLine tells in a few words how the daemon stands.
func (d *Daemon) statusLine() string {
	if d.keys.Locked() {
		return "locked; to unlock it: secmsg unlock"
	}
	list, up := d.running(), 0
	for _, a := range list {
		if a.isUp() {
			up++
		}
	}
	return accountsLine(len(list), up)
}

func accountsLine(accounts, up int) string {
	noun := "accounts"
	if accounts == 1 {
		noun = "account"
	}
	switch {
	case accounts == 0:
		return "no account"
	case up == accounts:
		return fmt.Sprintf("%d %s, connected", accounts, noun)
	case up == 0:
		return fmt.Sprintf("%d %s, not connected", accounts, noun)
	}
	return fmt.Sprintf("%d %s, %d connected", accounts, noun, up)
}
