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

// Goals of rpc/DELIVERY.md, "Speed and size".
const (
	offlineGoal = 8000     // envelopes per second into mailboxes, with the generator on the same cores
	idleGoal    = 56 << 10 // bytes per idle client with own TLS
)

// Shares of the time limit in which idle clients register, and in which they connect.
const (
	registerShare = 0.15
	connectShare  = 0.25
)

// share returns a fraction of the time limit.
func (b *relayBench) share(s float64) time.Duration { return time.Duration(s * float64(b.opt.limit)) }

// settleIdle is how long the server stays idle before its memory is read.
const settleIdle = 6 * time.Second

// mailbox measures the rate into mailboxes of devices that are offline, and how fast they fetch it
// later.
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

// countedLine counts its accepted messages.
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

// idle measures the memory of silent connected clients, relative to a server just after its start. It
// creates as many clients as requested, or as time allows.
func (b *relayBench) idle(ctx context.Context) error {
	if b.opt.idle == 0 {
		return nil
	}
	devices, err := b.idleDevices(ctx)
	if err != nil {
		return err
	}
	if err := b.world.StopServer(); err != nil {
		return err
	}
	if err := b.world.StartServer(ctx); err != nil {
		return err
	}
	if err := wait(ctx, settleIdle); err != nil {
		return err
	}
	pid := b.world.Server().PID()
	before, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	c := crowd{start: time.Now()}
	defer c.close()
	err = loadgen.Each(ctx, len(devices), func(ctx context.Context, i int) error {
		if time.Since(c.start) > b.share(connectShare) {
			return nil
		}
		return c.join(ctx, devices[i])
	})
	if err != nil {
		return fmt.Errorf("idle clients: %w", err)
	}
	n := len(c.conns) / 2
	if n == 0 {
		return errors.New("idle clients: no time was left for them")
	}
	b.out.figure("clients connected", float64(n)/time.Since(c.start).Seconds(), "1/s", 0, true)
	if err := wait(ctx, settleIdle); err != nil {
		return err
	}
	after, err := lab.RSS(pid)
	if err != nil {
		return err
	}
	const kib = 1 << 10
	b.notef("%d idle clients", n)
	b.out.figure("memory of an idle client", float64(after-before)/float64(n)/kib, "KiB", idleGoal/kib, false)
	return nil
}

// idleDevices registers accounts until there are enough or its time is over.
func (b *relayBench) idleDevices(ctx context.Context) ([]*loadgen.Device, error) {
	const batch = 100
	var devices []*loadgen.Device
	start := time.Now()
	for len(devices) < b.opt.idle && time.Since(start) < b.share(registerShare) {
		more, err := b.devices(ctx, min(batch, b.opt.idle-len(devices)))
		if err != nil {
			return nil, err
		}
		devices = append(devices, more...)
	}
	b.out.figure("registrations", float64(len(devices))/time.Since(start).Seconds(), "1/s", 0, true)
	return devices, nil
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
		_ = ws.Close() // the server may have closed them
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
