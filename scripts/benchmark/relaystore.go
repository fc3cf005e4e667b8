package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/scripts/lab"
	"secmsg/scripts/loadgen"
)

// Marks of delivery.md, Speed and size.
const (
	offlineGoal = 8000     // envelopes per second into mailboxes, generator on the same cores
	idleGoal    = 56 << 10 // bytes per idle client with own TLS
)

// settleIdle is how long the server is left alone before its memory is read.
const settleIdle = 2 * time.Second

// mailbox measures what goes to devices that are away, and how fast they get it later.
func (b *relayBench) mailbox(ctx context.Context) error {
	devices, err := b.friends(ctx)
	if err != nil {
		return err
	}
	lines, err := b.lines(ctx, devices, false)
	if err != nil {
		return err
	}
	counted := make([]*countedLine, len(lines))
	for i := range lines {
		counted[i] = &countedLine{Line: lines[i]}
		lines[i] = counted[i]
	}
	ours, err := b.measure(ctx, b.world.Server().PID(), lines, loadgen.Load{})
	if err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	b.out.figure("accepted for devices that are away", ours.PerSecond(), "msg/s", offlineGoal, true)
	b.out.figure("server CPU, devices away", microseconds(ours.cpu), "us/msg", 0, false)

	start, total := time.Now(), 0
	for _, c := range counted {
		total += c.acked
	}
	err = loadgen.Each(ctx, len(counted), func(ctx context.Context, i int) error {
		_, _, err := loadgen.Drain(ctx, devices[2*i+1], counted[i].acked)
		return err
	})
	if err != nil {
		return fmt.Errorf("mailbox: %w", err)
	}
	b.out.figure("drained when they come back", float64(total)/time.Since(start).Seconds(), "msg/s", 0, true)
	return nil
}

// countedLine remembers how many messages were accepted.
type countedLine struct {
	loadgen.Line
	acked int // used by the goroutine that calls Acked, and after the load
}

// Acked counts.
func (c *countedLine) Acked() (int, error) {
	n, err := c.Line.Acked()
	c.acked += n
	return n, err
}

// idle measures the memory of clients that are connected and silent.
func (b *relayBench) idle(ctx context.Context) (err error) {
	n := b.opt.idle
	if n == 0 {
		return nil
	}
	start := time.Now()
	devices, err := b.devices(ctx, n)
	if err != nil {
		return err
	}
	b.out.figure("registrations", float64(n)/time.Since(start).Seconds(), "1/s", 0, true)
	if err := wait(ctx, settleIdle); err != nil {
		return err
	}
	pid := b.world.Server().PID()
	before, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	conns := make([]*websocket.Conn, 2*n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
	}()
	start = time.Now()
	err = loadgen.Each(ctx, n, func(ctx context.Context, i int) error {
		contact, value, err := devices[i].OpenContact(ctx)
		if err != nil {
			return err
		}
		conns[2*i] = contact
		conns[2*i+1], err = devices[i].OpenReplica(ctx, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("idle clients: %w", err)
	}
	b.out.figure("clients connected", float64(n)/time.Since(start).Seconds(), "1/s", 0, true)
	if err := wait(ctx, settleIdle); err != nil {
		return err
	}
	after, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	const kib = 1 << 10
	b.out.figure(fmt.Sprintf("memory of an idle client (%d)", n), float64(after-before)/float64(n)/kib, "KiB", idleGoal/kib, false)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
