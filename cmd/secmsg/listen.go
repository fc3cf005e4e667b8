package main

import (
	"context"
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
			"When the daemon is restarted, the command waits for it and goes on where it was:\n" +
			"no event is left out or shown twice. Standard error tells when the daemon or the\n" +
			"server goes and when it comes back.\n\n" +
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
	if err == nil && o.exec == "" {
		err = a.needStdout()
	}
	if err != nil {
		return err
	}
	return a.listen(ctx, o, p)
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
