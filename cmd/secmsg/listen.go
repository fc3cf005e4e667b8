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
		Short: "Print events as they happen",
		Long: "Print incoming events as they happen, one a line, starting now or at --since.\n" +
			"With --consumer NAME, start after the last event that this consumer\n" +
			"acknowledged. The cursor survives restarts of this command, the daemon and the\n" +
			"machine.\n\n" +
			"If the daemon is restarted, the command waits for it and continues: no event is\n" +
			"lost or shown twice. Notes on standard error say when the daemon or the server\n" +
			"goes away and when it is back.\n\n" +
			"In text output, text of a peer follows \"PEER: \", and its further lines follow\n" +
			"\"    | \", also where a line is too long for the terminal. Words of secmsg follow\n" +
			"\"PEER * \" and \"    * \". If you make the terminal narrower later, it breaks lines\n" +
			"in its own way: use -o json where the difference matters.\n\n" +
			"--exec runs CMD in the shell for each event. The environment holds\n" +
			"SECMSG_EVENT_ID, _TYPE, _PEER, _TIME, _SEQ and _TEXT, and standard input holds\n" +
			"the event as JSON. Exit status 0 acknowledges the event. After any other status,\n" +
			"the event is retried after a pause that doubles from one second to five minutes;\n" +
			"with --count, the command ends instead. After --retry retries (default 29) or\n" +
			"--dead-letter-after (default 1h), whichever comes first, the event is skipped\n" +
			"with a note, so that later events are handled. A skipped event of a consumer is\n" +
			"a dead letter: consumer list counts and shows it. Both limits are stored with\n" +
			"the consumer.\n\n" +
			"The default types are message, call, file (a file was offered) and identity.\n" +
			"--type selects others: receipt, file_state (the state of a file changed),\n" +
			"presence, system.",
		Example: "  secmsg listen --consumer bot --exec './handle.sh'\n" +
			"  secmsg listen --from alice --count 1 --timeout 10m -o json",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.hasCount = cmd.Flags().Changed("count")
			o.hasTimeout = cmd.Flags().Changed("timeout")
			o.hasRetry = cmd.Flags().Changed("retry")
			o.hasDead = cmd.Flags().Changed("dead-letter-after")
			return runListen(cmd.Context(), a, o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.from, "from", nil, "only events from this `PEER`; may be repeated")
	f.StringSliceVar(&o.types, "type", nil, "only events of these `TYPES` (default message,call,file,identity)")
	f.StringVar(&o.consumer, "consumer", "", "continue at the durable cursor `NAME`, and advance it")
	f.StringVar(&o.since, "since", "", "start at `TIME`, or after a sequence number (0: the oldest event kept) or an id")
	f.IntVar(&o.count, "count", 0, "exit after `N` events")
	f.DurationVar(&o.timeout, "timeout", 0, "exit after this long, with 8 if --count was not reached")
	f.StringVar(&o.exec, "exec", "", "run `CMD` for each event")
	f.IntVar(&o.retry, "retry", local.DefaultRetry, "retry CMD up to `N` times for an event that it failed on")
	f.DurationVar(&o.deadAfter, "dead-letter-after", local.DefaultDeadLetterAfter, "skip an event that CMD has failed on for this long")
	f.StringVar(&o.ack, "ack", ackAuto, "auto: acknowledge events once printed or handled; manual: use secmsg ack")
	f.BoolVar(&o.outgoing, "outgoing", false, "also print the messages you send")
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
			return local.SubscribeParams{}, usagef("--type: %q is not one of message, receipt, call, file, file_state, identity, presence, system", t)
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
