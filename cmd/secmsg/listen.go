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
	retry      int
	hasRetry   bool
	deadAfter  time.Duration
	hasDead    bool
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
			"In text, what a peer wrote stands behind \"PEER: \", and its further lines behind\n" +
			"\"    | \", also where a terminal is too narrow for them; what secmsg says stands\n" +
			"behind \"PEER * \" and \"    * \". A terminal that is made narrower later breaks lines\n" +
			"as it likes: use -o json where it matters who says what.\n\n" +
			"--exec runs CMD by the shell for each event, with SECMSG_EVENT_ID, _TYPE, _PEER,\n" +
			"_TIME, _SEQ and _TEXT in its environment and the event as JSON on its standard\n" +
			"input. Exit status 0 acknowledges the event. Otherwise the same event is tried\n" +
			"again after a pause, which doubles from one second to five minutes; with --count\n" +
			"the command ends instead. After --retry more attempts (29 if it is not given), or\n" +
			"after --dead-letter-after (1h), whichever comes first, the event is passed over\n" +
			"with a note, so that those behind it come. For a consumer it is a dead letter then,\n" +
			"which consumer list counts and shows; the two numbers stay with the consumer.\n\n" +
			"Types are message, call, file (a file came) and identity, unless --type names\n" +
			"others: receipt, file_state (the state of a file changed), presence, system.",
		Example: "  secmsg listen --consumer bot --exec './handle.sh'\n" +
			"  secmsg listen --from alice --count 1 --timeout 10m -o json",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := filled(cmd, "consumer", "since", "exec", "ack"); err != nil {
				return err
			}
			o.hasCount = cmd.Flags().Changed("count")
			o.hasTimeout = cmd.Flags().Changed("timeout")
			o.hasRetry = cmd.Flags().Changed("retry")
			o.hasDead = cmd.Flags().Changed("dead-letter-after")
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
	f.IntVar(&o.retry, "retry", local.DefaultRetry, "run CMD up to `N` more times for an event that it failed on")
	f.DurationVar(&o.deadAfter, "dead-letter-after", local.DefaultDeadLetterAfter, "pass over an event when CMD has failed on it for this long")
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
		if err := oneOf("--type", t, local.TypeMessage, local.TypeReceipt, local.TypeCall, local.TypeFile, local.TypeFileState,
			local.TypeIdentity, local.TypePresence, local.TypeSystem); err != nil || t == "" {
			return local.SubscribeParams{}, usagef("--type %q: message, receipt, call, file, file_state, identity, presence or system is expected", t)
		}
	}
	switch {
	case o.hasCount && o.count < 1:
		err = usagef("--count must be at least 1")
	case o.ack != ackAuto && o.ack != ackManual:
		err = oneOf("--ack", o.ack, ackAuto, ackManual)
	case (o.hasRetry || o.hasDead) && o.exec == "":
		err = usagef("--retry and --dead-letter-after need --exec")
	case o.hasRetry && o.retry < 0:
		err = usagef("--retry must not be negative")
	case o.hasDead && o.deadAfter <= 0:
		err = positive("--dead-letter-after", true, o.deadAfter)
	case o.ack == ackManual && o.consumer == "":
		err = usagef("--ack manual needs --consumer")
	default:
		err = positive("--timeout", o.hasTimeout, o.timeout)
	}
	p := local.SubscribeParams{From: o.from, Types: o.types, Outgoing: o.outgoing, Consumer: o.consumer, Since: since}
	if o.consumer != "" && o.hasRetry {
		p.Retry = &o.retry
	}
	if o.consumer != "" && o.hasDead {
		p.DeadLetterAfter = o.deadAfter.Seconds()
	}
	return p, err
}
