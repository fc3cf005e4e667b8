package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/ledger"
)

// Options describe a run.
type Options struct {
	Seed     uint64
	Messages int // in total
	Kills    int // of daemons, servers and consumers
	Users    int // in pairs, so an even number
	// Binary is the program; empty: build it.
	Binary string
	// Dir contains everything; empty: a temporary directory.
	Dir string
	// Frames are the faults of the server; the zero value is an honest server.
	Frames lab.FrameRates
	// Quiet bounds the time in which everything must arrive after the last fault.
	Quiet time.Duration
	// Talk receives progress messages.
	Talk io.Writer
}

// harness is a run in progress.
type harness struct {
	opt    Options
	world  *lab.World
	tcp    *lab.TCPProxy
	frame  *lab.FrameProxy
	lies   *lab.FrameFaults
	rec    *ledger.Recorder
	counts *counts
	users  []*user
}

// clientEnv makes daemons reconnect soon, notice a dead connection soon, and ask again soon for
// messages that did not open, so that a run exercises these often.
func clientEnv() []string {
	return []string{"SECMSG_INTERVALS_RETRY=5s", "SECMSG_INTERVALS_RECONNECT_MIN=50ms", "SECMSG_INTERVALS_RECONNECT_MAX=2s", "SECMSG_INTERVALS_PING=3s"}
}

// Run creates a world, applies the faults, waits until everything has settled, and judges. An error
// means that the run itself failed; violations are in the report.
func Run(ctx context.Context, o Options) (_ Report, _ ledger.Ledger, err error) {
	if o.Users < 2 || o.Users%2 != 0 || o.Messages < o.Users {
		return Report{}, ledger.Ledger{}, fmt.Errorf("users %d, messages %d: an even number of users and a message for each is needed", o.Users, o.Messages)
	}
	start := time.Now()
	h := &harness{opt: o, rec: ledger.NewRecorder(o.Seed, o.Frames.Reorder > 0 || o.Frames.Flip > 0), counts: newCounts()}
	defer func() {
		if cerr := h.close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}()
	if err := h.open(ctx); err != nil {
		return Report{}, h.rec.Ledger(), h.explain(err)
	}
	quiet, err := h.run(ctx)
	l := h.rec.Ledger()
	r := h.report(&l, time.Since(start), quiet)
	if err != nil {
		return r, l, h.explain(err)
	}
	if len(r.Violations) > 0 {
		h.notef("%s", h.world.Logs(3000))
	}
	return r, l, nil
}

// explain adds the logs to an error.
func (h *harness) explain(err error) error {
	if h.world == nil {
		return err
	}
	return fmt.Errorf("%w\n%s", err, h.world.Logs(3000))
}

func (h *harness) notef(format string, args ...any) {
	if h.opt.Talk != nil {
		fmt.Fprintf(h.opt.Talk, "soak: "+format+"\n", args...)
	}
}

// open creates server, proxies, accounts and contacts.
func (h *harness) open(ctx context.Context) error {
	entry, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	middle, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	h.world, err = lab.New(ctx, lab.Options{Dir: h.opt.Dir, Binary: h.opt.Binary, Entry: entry, ServerEnv: lab.RaisedLimits(), ClientEnv: clientEnv()})
	if err != nil {
		return err
	}
	if h.frame, err = lab.NewFrameProxy(h.world.ServerDir(), middle, h.world.Listen()); err != nil {
		return err
	}
	if h.tcp, err = lab.NewTCPProxy(entry, middle, h.opt.Seed); err != nil {
		return err
	}
	h.lies = lab.NewFrameFaults(h.opt.Frames, h.opt.Seed)
	for i := range h.opt.Users {
		h.users = append(h.users, newUser(h, i))
	}
	return h.befriend(ctx)
}

func (h *harness) befriend(ctx context.Context) error {
	for _, u := range h.users {
		if err := h.world.Join(ctx, u.name); err != nil {
			return err
		}
	}
	for i := 0; i < len(h.users); i += 2 {
		if err := h.world.Befriend(ctx, h.users[i].name, h.users[i+1].name); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) close() error {
	var errs []error
	if h.world != nil {
		errs = append(errs, h.world.Close())
	}
	if h.tcp != nil {
		errs = append(errs, h.tcp.Close())
	}
	if h.frame != nil {
		errs = append(errs, h.frame.Close())
	}
	return errors.Join(errs...)
}

// run is the test itself. It returns how long settling took.
func (h *harness) run(ctx context.Context) (quiet time.Duration, err error) {
	consumers, stopConsumers := context.WithCancel(ctx)
	defer stopConsumers()
	readers, rctx := errgroup.WithContext(consumers)
	for _, u := range h.users {
		for _, c := range u.consumers {
			readers.Go(func() error { return c.read(rctx) })
		}
	}
	if err := h.attached(rctx); err != nil {
		stopConsumers()
		return 0, errors.Join(err, readers.Wait())
	}
	h.notef("%d users are ready, the faults begin", len(h.users))
	h.frame.Hook(h.lies.Hooks())
	senders, sctx := errgroup.WithContext(rctx)
	for _, u := range h.users {
		senders.Go(func() error { return u.send(sctx, h.opt.Messages/len(h.users)) })
	}
	done := make(chan struct{})
	var faults errgroup.Group
	faults.Go(func() error { return h.faults(ctx, done) })
	err = senders.Wait()
	close(done)
	err = errors.Join(err, faults.Wait(), h.heal(ctx))
	if err == nil {
		h.notef("all is sent, waiting for quiet")
		quiet, err = h.settle(ctx)
	}
	stopConsumers()
	return quiet, errors.Join(err, readers.Wait())
}
