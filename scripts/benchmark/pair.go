package main

import (
	"context"
	"errors"
	"fmt"

	"secmsg/config"
	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

// pair is a world in which alice and bob are mutual contacts and online, with a client of each daemon.
type pair struct {
	world      *lab.World
	alice, bob *local.Client
}

// newPair creates the world and sends one message each way, so that sessions exist.
func (b *bench) newPair(ctx context.Context) (_ *pair, err error) {
	w, err := b.newWorld(ctx)
	if err != nil {
		return nil, err
	}
	p := &pair{world: w}
	defer func() {
		if err != nil {
			b.notef("%s", w.Logs(2000))
			err = errors.Join(err, p.close())
		}
	}()
	for _, user := range []string{"alice", "bob"} {
		if err := w.Join(ctx, user); err != nil {
			return nil, err
		}
	}
	if err := w.Befriend(ctx, "alice", "bob"); err != nil {
		return nil, err
	}
	for _, ends := range [][2]string{{"alice", "bob"}, {"bob", "alice"}} {
		if _, err := w.Must(ctx, ends[0], "hello", "send", ends[1], "--wait", "delivered"); err != nil {
			return nil, err
		}
	}
	if p.alice, err = dialDaemon(ctx, w, "alice"); err != nil {
		return nil, err
	}
	p.bob, err = dialDaemon(ctx, w, "bob")
	return p, err
}

func dialDaemon(ctx context.Context, w *lab.World, user string) (*local.Client, error) {
	paths, err := config.ResolvePaths(w.Home(user))
	if err != nil {
		return nil, fmt.Errorf("daemon of %s: %w", user, err)
	}
	c, err := local.Dial(ctx, local.Target{Sockets: paths.Sockets(), Profile: paths.Data, Lock: paths.Lock})
	if err != nil {
		return nil, fmt.Errorf("daemon of %s: %w", user, err)
	}
	return c, nil
}

func (p *pair) close() error {
	var errs []error
	for _, c := range []*local.Client{p.alice, p.bob} {
		if c != nil {
			_ = c.Close() // the daemon may have ended first
		}
	}
	return errors.Join(append(errs, p.world.Close())...)
}

// pids returns the processes of the two daemons and the server.
func (p *pair) pids() (alice, bob, server int, err error) {
	alice, errA := p.world.DaemonPID("alice")
	bob, errB := p.world.DaemonPID("bob")
	return alice, bob, p.world.Server().PID(), errors.Join(errA, errB)
}
