package account

import (
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/wire"
)

// linkWatch passes a link's calls on to the engine and keeps account of the
// connections, of which the service manager is told.
type linkWatch struct {
	link.Handler
	account *Account
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

func (a *Account) setUp(role wire.Role, up bool) {
	a.mu.Lock()
	if role == wire.RoleContact {
		a.contactUp = up
	} else {
		a.replicaUp = up
	}
	a.mu.Unlock()
	a.shared.Changed()
}

// Up reports whether both connections of the account stand.
func (a *Account) Up() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.contactUp && a.replicaUp
}

// Receives reports whether the connection stands on which events come.
func (a *Account) Receives() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replicaUp
}
