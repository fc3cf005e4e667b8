package main

import (
	"context"
	"errors"
	"strings"
)

// Goals of rpc/DELIVERY.md, "Speed and size", for whole processes, in milliseconds.
const (
	versionGoal = 12
	sendGoal    = 25
)

// runCLI measures commands from fork to exit, one after the other.
func runCLI(ctx context.Context, b *bench) (err error) {
	p, err := b.newPair(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	text := strings.Repeat("x", b.opt.size)
	measure := func(name string, goal float64, stdin string, args ...string) error {
		var s samples
		for range b.opt.runs {
			r, err := p.world.Run(ctx, "alice", stdin, args...)
			if err == nil {
				err = r.Err()
			}
			if err != nil {
				return err
			}
			s = append(s, r.Took)
		}
		b.out.figure(name+", min", milliseconds(s.quantile(0)), "ms", 0, false)
		b.out.figure(name+", median", milliseconds(s.quantile(0.5)), "ms", goal, false)
		b.out.figure(name+", p99", milliseconds(s.quantile(0.99)), "ms", 0, false)
		return nil
	}
	if err := measure("version", versionGoal, "", "version"); err != nil {
		return err
	}
	if err := measure("send, recipient online", sendGoal, text, "send", "bob"); err != nil {
		return err
	}
	if err := measure("send --wait delivered", 0, text, "send", "bob", "--wait", "delivered"); err != nil {
		return err
	}
	if err := p.world.StopDaemon(ctx, "bob"); err != nil {
		return err
	}
	return measure("send, recipient away", sendGoal, text, "send", "bob")
}
