package daemon

import (
	"context"
	"fmt"
	"time"

	"secmsg/daemon/link"
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

// statusChanged asks tellStatus to look again. It never waits.
func (d *Daemon) statusChanged() {
	select {
	case d.changed <- struct{}{}:
	default: // tellStatus has not looked yet, and will see this change too
	}
}

// tellStatus keeps the line current that `systemctl status` shows, until ctx ends.
func (d *Daemon) tellStatus(ctx context.Context) {
	last := ""
	for {
		if line := d.statusLine(); line != last {
			last = line
			tell(d.logger, "STATUS="+line)
		}
		select {
		case <-d.changed:
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
