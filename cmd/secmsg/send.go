package main

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// maxText is the longest text of a message in bytes (rpc/DELIVERY.md, "Limits").
const maxText = 64 << 10

// defaultWait is the default of --timeout.
const defaultWait = 30 * time.Second

// sendOptions are the flags of send.
type sendOptions struct {
	message    string
	hasMessage bool
	lines      bool
	wait       string
	timeout    time.Duration
	hasTimeout bool
	key        string
	expires    time.Duration
	hasExpires bool
	replyTo    string
	require    string
	files      []string
	progress   string
}

func newSendCommand(a *app) *cobra.Command {
	var o sendOptions
	c := &cobra.Command{
		Use:   "send PEER[,PEER...] [TEXT | -]",
		Short: "Send a message",
		Long: "Send a message. Without TEXT, or with -, the message is read from standard\n" +
			"input; one trailing newline is dropped. Other users can see TEXT in the process\n" +
			"list: pipe secrets instead.\n\n" +
			"Without --wait, send waits up to 5 s for the server and prints the state that\n" +
			"was reached. The message is stored on disk in any case, and is sent as soon as\n" +
			"possible.\n\n" +
			"-f attaches files to the message, which then needs no TEXT. Like file send, the\n" +
			"command then returns when the server has the files, and the message is delivered\n" +
			"when the recipient has fetched all of them.\n\n" +
			"--lines prints the results in the order of the lines. Lines end with LF or CRLF;\n" +
			"empty lines are skipped. A line that is not UTF-8 or too long is reported on\n" +
			"standard error and not sent; the lines after it are sent, and the exit code is\n" +
			"1. Up to 64 lines are sent at a time. If the command is interrupted, lines\n" +
			"without a printed result may have been queued.",
		Example: "  secmsg send alice \"the build is green\"\n" +
			"  make 2>&1 | tail -n 20 | secmsg send alice,bob\n" +
			"  secmsg send alice --wait read --timeout 10m < question.txt\n" +
			"  secmsg send alice \"both plans\" -f north.pdf -f south.pdf",
		Args: argsBetween(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasMessage = cmd.Flags().Changed("message")
			o.hasTimeout = cmd.Flags().Changed("timeout")
			o.hasExpires = cmd.Flags().Changed("expires")
			return runSend(cmd.Context(), a, o, args)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.message, "message", "m", "", "send `TEXT`; with the argument -, standard input is appended to it")
	f.BoolVar(&o.lines, "lines", false, "send each line of standard input as a separate message, as it arrives")
	f.StringVar(&o.wait, "wait", "", "wait for `STATE`: queued, server, delivered or read")
	f.DurationVar(&o.timeout, "timeout", defaultWait, "stop waiting after this long and exit 8; the message stays queued")
	f.StringVar(&o.key, "idempotency-key", "", "send only once per `KEY`: a repeated command returns the first id")
	f.DurationVar(&o.expires, "expires", 0, "discard the message if it is not delivered within this time")
	f.StringVar(&o.replyTo, "reply-to", "", "reply to the message with this `ID`")
	f.StringArrayVarP(&o.files, "file", "f", nil, "attach `FILE` to the message; may be repeated")
	f.StringVar(&o.progress, "progress", progressAuto, progressUsage)
	f.StringVar(&o.require, "require", "", "`verified`: exit 4 and queue nothing unless every peer is verified")
	return c
}

func runSend(ctx context.Context, a *app, o sendOptions, args []string) error {
	p, err := sendParams(o, args[0])
	if err != nil {
		return err
	}
	if len(o.files) > 0 {
		return runSendWithFiles(ctx, a, o, p, args)
	}
	if o.lines {
		if len(args) > 1 && args[1] != "-" || o.hasMessage || o.key != "" {
			return usagef("--lines reads standard input and cannot be combined with TEXT, --message or --idempotency-key")
		}
		if err := a.needStdin(); err != nil {
			return err
		}
		return a.withAccount(ctx, func(c *local.Client) error { return a.sendLines(ctx, c, p) })
	}
	p.Text, err = a.sendText(ctx, o, args[1:])
	if err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error { return a.sendOne(ctx, c, p) })
}

// waitStates are the values of --wait.
func waitStates() []string { return []string{"queued", "server", "delivered", "read"} }

// sendParams checks the flags.
func sendParams(o sendOptions, peers string) (local.SendParams, error) {
	names, err := splitPeers(peers)
	if err != nil {
		return local.SendParams{}, err
	}
	p := local.SendParams{
		Peers: names, Wait: o.wait, ReplyTo: o.replyTo, Require: o.require,
		IdempotencyKey: o.key, Expires: o.expires.Seconds(),
	}
	if o.hasTimeout && p.Wait == "" {
		p.Wait = "server" // --timeout alone implies a wait
	}
	if p.Wait != "" {
		p.Timeout = o.timeout.Seconds()
	}
	for _, err := range []error{
		oneOf("--wait", o.wait, waitStates()...),
		oneOf("--progress", o.progress, progressModes()...),
		oneOf("--require", o.require, local.TrustVerified),
		positive("--timeout", o.hasTimeout, o.timeout),
		positive("--expires", o.hasExpires, o.expires),
	} {
		if err != nil {
			return local.SendParams{}, err
		}
	}
	return p, nil
}

// sendText returns the text of the message: TEXT, --message, standard input, or
// --message followed by standard input.
func (a *app) sendText(ctx context.Context, o sendOptions, args []string) (string, error) {
	piped := len(args) == 0 && !o.hasMessage || len(args) == 1 && args[0] == "-"
	if !piped {
		if o.hasMessage && len(args) == 1 {
			return "", usagef("TEXT and --message cannot be combined")
		}
		if o.hasMessage {
			return o.message, checkText(o.message)
		}
		return args[0], checkText(args[0])
	}
	if a.stdinTerminal() {
		a.notef("type the message, then press Ctrl-D on an empty line")
	}
	b, err := a.readStdin(ctx, maxText+1, textTooLong())
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(string(b), "\n")
	if o.hasMessage {
		text = o.message + "\n" + text
	}
	return text, checkText(text)
}

func textTooLong() *local.Error {
	return usagef("the text is over %d KiB: send it as a file", maxText>>10)
}

// checkText refuses an invalid text before anything is queued.
func checkText(s string) error {
	switch {
	case s == "":
		return usagef("the text is empty")
	case !utf8.ValidString(s):
		return usagef("the text is not UTF-8")
	case len(s) > maxText:
		return textTooLong()
	}
	return nil
}

// sendOne sends one message and prints a line for each recipient. It returns the
// error of the first recipient that failed.
func (a *app) sendOne(ctx context.Context, c *local.Client, p local.SendParams) error {
	p.AccountParam = a.accountParam()
	r, err := c.Send(ctx, p)
	if err != nil {
		return unsure(err, p)
	}
	return a.printResults(r.Results)
}

// unsure adds a hint to the error of a send whose daemon exited before it answered:
// the message may have been queued.
func unsure(err error, p local.SendParams) error {
	if !isCode(err, local.CodeNoDaemon) {
		return err
	}
	e := *local.As(err)
	if p.IdempotencyKey != "" {
		return e.WithHint("the message may have been queued; repeat the command with the same key to send it exactly once")
	}
	return e.WithHint("the message may have been queued; check secmsg history before you send it again (--idempotency-key makes it safe to repeat a command)")
}

// printResults prints one line for each recipient. A failed message matters more than
// a closed standard output, so that error is returned only if no message failed.
func (a *app) printResults(results []local.SendResult) error {
	var closed error
	for i := range results {
		r := &results[i]
		var err error
		if a.json() {
			err = a.printJSON(r)
		} else {
			err = a.printf("%s %s %s", visible(r.ID), visible(r.Peer), visible(r.State))
		}
		if closed == nil {
			closed = err
		}
	}
	a.waitingNote(results)
	for i := range results {
		if e := stateError(&results[i]); e != nil {
			return e
		}
	}
	return closed
}

// waitingNote prints why messages have not reached the server yet and when they will
// be sent. Each reason is printed once per command.
func (a *app) waitingNote(results []local.SendResult) {
	for i := range results {
		why := results[i].Waiting
		if why == nil || slices.Contains(a.told, why.Message) {
			continue
		}
		a.told = append(a.told, why.Message)
		end := "it will be sent as soon as the server can be reached"
		switch {
		case why.Code == local.CodeLocked:
			end = "it will be sent after secmsg unlock"
		case why.Cause == local.CauseSuspended:
			end = "it will be sent when the account is resumed"
		case why.Cause == local.CauseRevoked, why.Code == local.CodeRefused:
			end = "it stays in the outbox"
		}
		a.notef("not sent yet: %s; %s", visible(why.Message), end)
	}
}

// stateError returns why a message will not be delivered as it is, or nil.
func stateError(r *local.SendResult) error {
	if r.Error != nil {
		e := *r.Error
		if !strings.Contains(e.Message, r.Peer) {
			e.Message = r.Peer + ": " + e.Message
		}
		return &e
	}
	switch r.State {
	case local.StateHeld:
		return local.Errorf(local.CodeUntrusted, "%s: the message is held", r.Peer)
	case local.StateExpired:
		return local.Errorf(local.CodeExpired, "%s: the message expired", r.Peer)
	case local.StateFailed:
		return local.Errorf(local.CodeRefused, "%s: the message failed", r.Peer)
	}
	return nil
}
