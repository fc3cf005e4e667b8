package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// idleTime bounds the time in which idle clients are made. They come first: a
// server that was under load has memory to spare, and would seem to need less.
const idleTime = 35 * time.Second

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

// idle measures the memory of clients that are connected and silent. It makes
// as many as were asked for, or as the time allows.
func (b *relayBench) idle(ctx context.Context) error {
	if b.opt.idle == 0 {
		return nil
	}
	pid := b.world.Server().PID()
	before, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	c := crowd{start: time.Now()}
	defer c.close()
	until := c.start.Add(idleTime)
	err = loadgen.Each(ctx, b.opt.idle, func(ctx context.Context, i int) error {
		if time.Now().After(until) {
			return nil
		}
		d, err := b.realm.Register(ctx, b.invite, fmt.Sprintf("idle-%d", i))
		if err != nil {
			return err
		}
		return c.join(ctx, d)
	})
	if err != nil {
		return fmt.Errorf("idle clients: %w", err)
	}
	n := len(c.conns) / 2
	if n == 0 {
		return errors.New("idle clients: no time was left for them")
	}
	b.out.figure("clients registered and connected", float64(n)/time.Since(c.start).Seconds(), "1/s", 0, true)
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

// crowd holds the connections of idle clients.
type crowd struct {
	start time.Time

	mu    sync.Mutex
	conns []*websocket.Conn // guarded by mu; two for each client
}

// join opens both connections of a device.
func (c *crowd) join(ctx context.Context, d *loadgen.Device) error {
	contact, value, err := d.OpenContact(ctx)
	if err != nil {
		return err
	}
	replica, err := d.OpenReplica(ctx, value)
	if err != nil {
		return errors.Join(err, contact.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, contact, replica)
	return nil
}

func (c *crowd) close() {
	for _, ws := range c.conns {
		_ = ws.Close() // the server may have ended them
	}
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
