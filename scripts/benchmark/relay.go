package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/scripts/lab"
	"secmsg/scripts/loadgen"
)

// unloadedRate is the rate in messages per second at which latency is measured, far below saturation.
const unloadedRate = 1000

// warm is how long a load runs before the measurement.
const warm = time.Second

// maxInvite is the most accounts that one invite can register.
const maxInvite = 10_000

// relayBench is one server under load.
type relayBench struct {
	*bench
	world  *lab.World
	realm  *loadgen.Realm
	invite identity.InviteToken
	ref    *reference
	made   int // accounts registered so far
}

// runRelay measures a real server process.
func runRelay(ctx context.Context, b *bench) (err error) {
	w, err := b.newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			b.notef("%s", w.Logs(2000))
		}
		err = errors.Join(err, w.Close())
	}()
	ref, err := startReference(ctx, w)
	if err != nil {
		return err
	}
	defer ref.stop()
	text, err := w.Invite(ctx, maxInvite)
	if err != nil {
		return err
	}
	invite, err := identity.ParseInvite(text)
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	rb := &relayBench{bench: b, world: w, ref: ref, invite: invite.Token, realm: loadgen.NewRealm(w.Listen(), "localhost")}
	defer rb.realm.Close()
	for _, step := range []func(context.Context) error{rb.idle, rb.forward, rb.mailbox} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// devices registers n accounts.
func (b *relayBench) devices(ctx context.Context, n int) ([]*loadgen.Device, error) {
	b.made++
	return b.realm.RegisterMany(ctx, b.invite, fmt.Sprintf("load%d-", b.made), n)
}

// lines pairs up devices as contacts and connects them.
func (b *relayBench) lines(ctx context.Context, devices []*loadgen.Device, online bool) ([]loadgen.Line, error) {
	lines := make([]loadgen.Line, len(devices)/2)
	err := loadgen.Each(ctx, len(lines), func(ctx context.Context, i int) (err error) {
		lines[i], err = loadgen.NewLine(ctx, devices[2*i], devices[2*i+1], b.opt.size, online)
		return err
	})
	return lines, err
}

func (b *relayBench) friends(ctx context.Context) ([]*loadgen.Device, error) {
	devices, err := b.devices(ctx, 2*b.opt.pairs)
	if err != nil {
		return nil, err
	}
	return devices, loadgen.Each(ctx, b.opt.pairs, func(ctx context.Context, i int) error {
		return loadgen.Befriend(ctx, devices[2*i], devices[2*i+1])
	})
}

// bare connects the same number of lines to the reference.
func (b *relayBench) bare(ctx context.Context) ([]loadgen.Line, error) {
	lines := make([]loadgen.Line, b.opt.pairs)
	b.made++
	base := b.made * len(lines)
	err := loadgen.Each(ctx, len(lines), func(ctx context.Context, i int) (err error) {
		lines[i], err = loadgen.NewFrameLine(ctx, b.ref.addr, base+i, b.opt.size)
		return err
	})
	return lines, err
}

// measured is a result with the CPU time of the process under load.
type measured struct {
	loadgen.Outcome
	cpu time.Duration // per message
}

func (b *relayBench) measure(ctx context.Context, pid int, lines []loadgen.Line, l loadgen.Load) (measured, error) {
	var before, after time.Duration
	var errs [2]error
	l.Window, l.Warm, l.Duration = b.opt.window, warm, b.opt.duration
	l.Begin = func() { before, errs[0] = lab.CPU(pid) }
	l.End = func() { after, errs[1] = lab.CPU(pid) }
	out, err := loadgen.Run(ctx, lines, l)
	if err := errors.Join(err, errs[0], errs[1]); err != nil {
		return measured{}, err
	}
	if out.Acked == 0 {
		return measured{}, errors.New("nothing was acknowledged")
	}
	return measured{Outcome: out, cpu: (after - before) / time.Duration(out.Acked)}, nil
}

// forward measures pairs that are online.
func (b *relayBench) forward(ctx context.Context) error {
	devices, err := b.friends(ctx)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		load loadgen.Load
	}{
		{"saturated", loadgen.Load{}},
		{"saturated, one message a frame", loadgen.Load{Batch: 1}},
		{fmt.Sprintf("%d/s", unloadedRate), loadgen.Load{Rate: unloadedRate}},
	} {
		lines, err := b.bare(ctx)
		if err != nil {
			return err
		}
		bare, err := b.measure(ctx, b.ref.pid(), lines, c.load)
		if err != nil {
			return fmt.Errorf("reference, %s: %w", c.name, err)
		}
		if lines, err = b.lines(ctx, devices, true); err != nil {
			return err
		}
		ours, err := b.measure(ctx, b.world.Server().PID(), lines, c.load)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		b.rows(c.name, c.load.Rate == 0, ours, bare)
	}
	return nil
}

func (b *relayBench) rows(name string, saturated bool, ours, bare measured) {
	const against = "bare forwarder"
	if saturated {
		goal := 1.0
		b.out.compared("forwarded, "+name, ours.PerSecond(), "msg/s", against, bare.PerSecond(), goal, true)
		b.out.compared("server CPU, "+name, microseconds(ours.cpu), "us/msg", against, microseconds(bare.cpu), goal, false)
	}
	for _, q := range []float64{0.5, 0.99} {
		b.out.compared(fmt.Sprintf("latency p%.0f, %s", 100*q, name), milliseconds(ours.Quantile(q)), "ms", against, milliseconds(bare.Quantile(q)), 0, false)
	}
}
