package backend

import (
	"sync"

	"secmsg/daemon/engine"
	"secmsg/rpc/local"
)

// Links implements localapi.Backend.
func (b *Backend) Links() ([]local.Link, <-chan struct{}) {
	changed := b.changed.next()
	var out []local.Link
	for _, a := range b.running() {
		e := a.Engine
		l := local.Link{Account: a.Address.String(), Connected: e.Reached(engine.StageReplica)}
		switch why := e.Suspended(); {
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

// changes wakes any number of watchers after a change. A watcher must take the
// channel before it reads the state; otherwise it may miss a change.
type changes struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; closed at the next change; nil without watchers
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

// Connected returns the number of accounts and how many of them have both
// connections. The channel is closed at the next change.
func (b *Backend) Connected() (accounts, up int, changed <-chan struct{}) {
	changed = b.changed.next()
	list := b.running()
	for _, a := range list {
		if a.Engine.Reached(engine.StageReplica) {
			up++
		}
	}
	return len(list), up, changed
}
