package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

const (
	// daemonGoal is the goal for an idle daemon's memory, in MiB (rpc/DELIVERY.md, "Speed and size").
	daemonGoal = 40
	// burstSenders is how many sends of the burst wait for the disk at the same time.
	burstSenders = 16
)

// runDaemon measures an idle daemon, then a burst of messages.
func runDaemon(ctx context.Context, b *bench) (err error) {
	p, err := b.newPair(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	alice, bob, server, err := p.pids()
	if err != nil {
		return err
	}
	before, err := lab.CPU(alice)
	if err != nil {
		return err
	}
	if err := wait(ctx, b.opt.duration); err != nil {
		return err
	}
	after, err := lab.CPU(alice)
	if err != nil {
		return err
	}
	if err := memory(b, "memory, idle", alice, daemonGoal); err != nil {
		return err
	}
	b.out.figure("CPU, idle", 100*float64(after-before)/float64(b.opt.duration), "%", 1, false)

	cpu := map[string]int{"sender": alice, "recipient": bob, "server": server}
	start := map[string]time.Duration{}
	for name, pid := range cpu {
		if start[name], err = lab.CPU(pid); err != nil {
			return err
		}
	}
	queued, shown, err := burst(ctx, p, b.opt.burst, strings.Repeat("x", b.opt.size))
	if err != nil {
		return err
	}
	n := float64(b.opt.burst)
	b.out.figure(fmt.Sprintf("%d messages on the sender's disk", b.opt.burst), n/queued.Seconds(), "msg/s", 0, true)
	b.out.figure(fmt.Sprintf("%d messages shown", b.opt.burst), n/shown.Seconds(), "msg/s", 0, true)
	for _, name := range []string{"sender", "recipient", "server"} {
		end, err := lab.CPU(cpu[name])
		if err != nil {
			return err
		}
		b.out.figure("CPU of the "+name, microseconds(end-start[name])/n, "us/msg", 0, false)
	}
	return errors.Join(memory(b, "memory of the sender, after", alice, 0), memory(b, "memory of the recipient, after", bob, 0))
}

func memory(b *bench, name string, pid int, goal float64) error {
	rss, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	b.out.figure(name, float64(rss)/(1<<20), "MiB", goal, false)
	return nil
}

// burst sends n texts. It returns when the last was on the sender's disk, and when the last was shown.
func burst(ctx context.Context, p *pair, n int, text string) (queued, shown time.Duration, err error) {
	stream, err := p.bob.Subscribe(ctx, local.SubscribeParams{Types: []string{local.TypeMessage}})
	if err != nil {
		return 0, 0, fmt.Errorf("subscribe: %w", err)
	}
	defer stream.Close()
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for i := range n {
			if _, err := stream.Next(ctx); err != nil {
				return fmt.Errorf("bob's event %d: %w", i+1, err)
			}
		}
		shown = time.Since(start)
		return nil
	})
	g.Go(func() error {
		senders, ctx := errgroup.WithContext(ctx)
		for i := range burstSenders {
			senders.Go(func() error {
				for range n/burstSenders + min(1, max(0, n%burstSenders-i)) {
					if err := sendText(ctx, p.alice, text, "queued"); err != nil {
						return err
					}
				}
				return nil
			})
		}
		err := senders.Wait()
		queued = time.Since(start)
		return err
	})
	return queued, shown, g.Wait()
}
