package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"secmsg/scripts/lab"
)

const (
	// progressEvery is how often the harness checks whether the next kill is due.
	progressEvery = 10 * time.Millisecond
	// maxDisturbance is the longest time for which a connection is disturbed or a process frozen.
	maxDisturbance = 2 * time.Second
	// startTimeout bounds a start of the server on a busy machine.
	startTimeout = time.Minute
)

// weighted is one kind of fault and its relative frequency.
type weighted struct {
	name   string
	weight int
	do     func(ctx context.Context, r *rand.Rand) error
}

// errNobody means that the fault had no target at the moment.
var errNobody = errors.New("nobody to disturb")

func pick(r *rand.Rand, all []weighted) weighted {
	total := 0
	for _, w := range all {
		total += w.weight
	}
	n := r.IntN(total)
	for _, w := range all {
		if n -= w.weight; n < 0 {
			return w
		}
	}
	return all[0] // unreachable
}

// faults makes the requested number of kills, spread evenly over the messages, and disturbs connections
// and processes in between. It ends early when everything is sent.
func (h *harness) faults(ctx context.Context, done <-chan struct{}) error {
	r := lab.NewRand(h.opt.Seed, "faults")
	kills, disturbances := h.kills(), h.disturbances()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for n := 0; n < h.opt.Kills; {
		taken, _ := h.rec.Progress()
		if taken < n*h.opt.Messages/h.opt.Kills {
			select {
			case <-tick.C:
				continue
			case <-done:
				h.notef("the messages were sent before kill %d of %d", n+1, h.opt.Kills)
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if r.IntN(2) == 0 {
			d := pick(r, disturbances)
			if err := d.do(ctx, r); err == nil {
				h.counts.disturb(d.name)
			} else if !errors.Is(err, errNobody) {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
		k := pick(r, kills)
		switch err := k.do(ctx, r); {
		case err == nil:
			h.counts.kill(k.name)
			n++
			if n%50 == 0 {
				taken, shown := h.rec.Progress()
				h.notef("%d kills, %d messages taken, %d lines shown", n, taken, shown)
			}
		case !errors.Is(err, errNobody):
			return fmt.Errorf("kill %s: %w", k.name, err)
		}
	}
	return nil
}

func (h *harness) kills() []weighted {
	return []weighted{
		{"daemon", 50, func(ctx context.Context, r *rand.Rand) error {
			err := h.world.KillDaemon(ctx, h.anyone(r).name)
			return absent(err)
		}},
		{"consumer", 35, func(_ context.Context, r *rand.Rand) error {
			u := h.anyone(r)
			if !u.consumers[r.IntN(len(u.consumers))].kill() {
				return errNobody
			}
			return nil
		}},
		{"server", 15, func(ctx context.Context, _ *rand.Rand) error {
			h.world.KillServer()
			return h.startServer(ctx)
		}},
	}
}

func (h *harness) startServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return h.world.StartServer(ctx)
}

// absent turns "there is none" into errNobody.
func absent(err error) error {
	if errors.Is(err, lab.ErrNoDaemon) || errors.Is(err, syscall.ESRCH) {
		return errNobody
	}
	return err
}

func (h *harness) anyone(r *rand.Rand) *user { return h.users[r.IntN(len(h.users))] }

func (h *harness) disturbances() []weighted {
	line := func(name string, weight int, f func(r *rand.Rand) lab.TCPFaults) weighted {
		return weighted{name, weight, func(ctx context.Context, r *rand.Rand) error {
			h.tcp.Set(f(r))
			defer h.tcp.Set(lab.TCPFaults{})
			return sleep(ctx, duration(r))
		}}
	}
	return []weighted{
		{"freeze daemon", 3, func(ctx context.Context, r *rand.Rand) error {
			u := h.anyone(r)
			if _, err := h.world.SignalDaemon(u.name, syscall.SIGSTOP); err != nil {
				return absent(err)
			}
			err := sleep(ctx, duration(r))
			_, thaw := h.world.SignalDaemon(u.name, syscall.SIGCONT)
			return errors.Join(err, thaw)
		}},
		{"freeze server", 2, func(ctx context.Context, r *rand.Rand) error {
			err := h.world.Server().Freeze()
			return errors.Join(err, sleep(ctx, duration(r)), h.world.Server().Thaw())
		}},
		{"cut lines", 3, func(context.Context, *rand.Rand) error { h.tcp.Cut(false); return nil }},
		{"reset lines", 3, func(context.Context, *rand.Rand) error { h.tcp.Cut(true); return nil }},
		line("delay", 2, func(r *rand.Rand) lab.TCPFaults {
			return lab.TCPFaults{Delay: time.Duration(1+r.IntN(500)) * time.Millisecond}
		}),
		line("slices", 2, func(r *rand.Rand) lab.TCPFaults { return lab.TCPFaults{Slice: 1 + r.IntN(100)} }),
		line("64 kbit/s", 1, func(*rand.Rand) lab.TCPFaults { return lab.TCPFaults{Rate: 64_000 / 8} }),
		line("nothing up", 1, func(*rand.Rand) lab.TCPFaults { return lab.TCPFaults{StallUp: true} }),
		line("nothing down", 1, func(*rand.Rand) lab.TCPFaults { return lab.TCPFaults{StallDown: true} }),
		line("no connections", 1, func(*rand.Rand) lab.TCPFaults {
			h.tcp.Cut(true)
			return lab.TCPFaults{Refuse: true}
		}),
	}
}

func duration(r *rand.Rand) time.Duration {
	return 20*time.Millisecond + time.Duration(r.Int64N(int64(maxDisturbance)))
}

// heal removes every fault.
func (h *harness) heal(ctx context.Context) error {
	h.tcp.Set(lab.TCPFaults{})
	h.frame.Hook(lab.FrameHooks{})
	var errs []error
	if h.world.Server() == nil {
		errs = append(errs, h.startServer(ctx))
	}
	return errors.Join(errs...)
}
