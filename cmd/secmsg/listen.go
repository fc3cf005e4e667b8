package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// Values of --ack.
const (
	ackAuto   = "auto"
	ackManual = "manual"
)

// listenOptions are the flags of listen.
type listenOptions struct {
	from       []string
	types      []string
	consumer   string
	since      string
	count      int
	hasCount   bool
	timeout    time.Duration
	hasTimeout bool
	exec       string
	ack        string
	outgoing   bool
}

func newListenCommand(a *app) *cobra.Command {
	var o listenOptions
	c := &cobra.Command{
		Use:   "listen",
		Short: "Print events as they come",
		Long: "Print incoming events as they come, one a line, from now on or from --since.\n" +
			"A named --consumer continues where its last acknowledgement stands, also after\n" +
			"this command, the daemon or the machine was away.\n\n" +
			"--exec runs CMD by the shell for each event, with SECMSG_EVENT_ID, _TYPE, _PEER,\n" +
			"_TIME, _SEQ and _TEXT in its environment and the event as JSON on its standard\n" +
			"input. Exit status 0 acknowledges the event. Otherwise the same event is tried\n" +
			"again after a pause; with --count the command ends instead. What a consumer's\n" +
			"handler fails on too often is a dead letter: it is passed over, and shown by\n" +
			"secmsg consumer list.",
		Example: "  secmsg listen --consumer bot --exec './handle.sh'\n" +
			"  secmsg listen --from alice --count 1 --timeout 10m -o json",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := filled(cmd, "consumer", "since", "exec", "ack"); err != nil {
				return err
			}
			o.hasCount = cmd.Flags().Changed("count")
			o.hasTimeout = cmd.Flags().Changed("timeout")
			return runListen(cmd.Context(), a, o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.from, "from", nil, "only events of this `PEER`; may be repeated")
	f.StringSliceVar(&o.types, "type", nil, "only events of these `TYPES` (default message,call,file,identity)")
	f.StringVar(&o.consumer, "consumer", "", "`NAME` of the durable cursor to continue and acknowledge")
	f.StringVar(&o.since, "since", "", "start behind a seq (0: the oldest kept) or an id, or at a `TIME`")
	f.IntVar(&o.count, "count", 0, "end after `N` events")
	f.DurationVar(&o.timeout, "timeout", 0, "end after this long; exit 8 if --count was not reached")
	f.StringVar(&o.exec, "exec", "", "run `CMD` for each event")
	f.StringVar(&o.ack, "ack", ackAuto, "auto: acknowledge what was printed or handled; manual: see secmsg ack")
	f.BoolVar(&o.outgoing, "outgoing", false, "my own messages too")
	return c
}

func runListen(ctx context.Context, a *app, o listenOptions) error {
	p, err := listenParams(o, time.Now())
	if err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		return a.listen(ctx, c, o, p)
	})
}

// listenParams checks the flags.
func listenParams(o listenOptions, now time.Time) (local.SubscribeParams, error) {
	since, err := sinceArg(o.since, now)
	if err != nil {
		return local.SubscribeParams{}, err
	}
	for _, t := range o.types {
		if err := oneOf("--type", t, local.TypeMessage, local.TypeReceipt, local.TypeCall, local.TypeFile,
			local.TypeIdentity, local.TypePresence, local.TypeSystem); err != nil || t == "" {
			return local.SubscribeParams{}, usagef("--type %q: message, receipt, call, file, identity, presence or system is expected", t)
		}
	}
	switch {
	case o.hasCount && o.count < 1:
		err = usagef("--count must be at least 1")
	case o.ack != ackAuto && o.ack != ackManual:
		err = oneOf("--ack", o.ack, ackAuto, ackManual)
	case o.ack == ackManual && o.consumer == "":
		err = usagef("--ack manual needs --consumer")
	default:
		err = positive("--timeout", o.hasTimeout, o.timeout)
	}
	return local.SubscribeParams{
		From: o.from, Types: o.types, Outgoing: o.outgoing, Consumer: o.consumer, Since: since,
	}, err
}

// errListenTimeout tells the end of --timeout from other ends.
var errListenTimeout = errors.New("the time of --timeout is over")

// listen prints or handles events until its count, its timeout or the stream ends.
func (a *app) listen(ctx context.Context, c *local.Client, o listenOptions, p local.SubscribeParams) error {
	until := ctx
	if o.hasTimeout {
		var cancel context.CancelFunc
		until, cancel = context.WithTimeoutCause(ctx, o.timeout, errListenTimeout)
		defer cancel()
	}
	s, err := c.Subscribe(until, p)
	if err != nil {
		return err
	}
	defer s.Close()
	for n := 0; !o.hasCount || n < o.count; n++ {
		e, err := s.Next(until)
		if err == nil {
			err = a.consume(until, c, o, &e)
		}
		if err != nil {
			return listenEnd(ctx, until, o, n, err)
		}
		if o.consumer == "" || o.ack == ackManual {
			continue
		}
		// What was shown is acknowledged even when the time is over.
		if err := c.Ack(ctx, local.AckParams{Consumer: o.consumer, ID: strconv.FormatInt(e.Seq, 10)}); err != nil {
			return err
		}
	}
	return nil
}

// listenEnd says what the end of the stream means after n events.
func listenEnd(ctx, until context.Context, o listenOptions, n int, err error) error {
	if ctx.Err() != nil || !errors.Is(context.Cause(until), errListenTimeout) || errors.Is(err, errStdoutClosed) {
		return err
	}
	if o.hasCount {
		return local.Errorf(local.CodeTimeout, "%d of %d events after %s", n, o.count, o.timeout)
	}
	return nil
}

// consume prints one event or runs its handler until that succeeds or, for a
// consumer, the daemon has counted so many failures that the event is a dead letter.
func (a *app) consume(ctx context.Context, c *local.Client, o listenOptions, e *local.Event) error {
	if o.exec == "" {
		return a.printEvent(e)
	}
	for pause := handlerPauseMin; ; pause = min(2*pause, handlerPauseMax) {
		err := a.handle(ctx, o.exec, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if o.consumer != "" && o.ack == ackAuto {
			f, failed := c.Fail(ctx, local.FailParams{Consumer: o.consumer, ID: strconv.FormatInt(e.Seq, 10)})
			if failed != nil {
				return failed
			}
			if f.Dead {
				a.notef("event %s: %v; given up after %d attempts, see secmsg consumer list", visible(e.ID), err, f.Attempts)
				return nil
			}
			pause = time.Duration(f.RetryAfter * float64(time.Second))
		}
		if o.hasCount {
			return err
		}
		a.notef("event %s: %v; again in %s", visible(e.ID), err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
