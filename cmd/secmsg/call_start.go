package main

import (
	"context"
	"errors"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// ringDefault is how long a call rings unless --ring says otherwise.
const ringDefault = time.Minute

func newCallStartCommand(a *app) *cobra.Command {
	var o mediaOptions
	ring := ringDefault
	c := &cobra.Command{
		Use:   "start PEER",
		Short: "Call a peer, and return when the call has ended",
		Long: "Call a peer and carry the call until one side hangs up. Ctrl-C hangs up: exit 0 once\n" +
			"the call was connected, 130 before. Changes of state are printed as they come; with\n" +
			"-o json also statistics, each second. With --hangup-after-play the peer is rung when\n" +
			"the source has something to send.\n\n" +
			"Exit 10: declined, busy, ended by the peer before it was connected, or nothing that\n" +
			"one side sends is taken by the other; 8: nobody\n" +
			"answered in the time of --ring; 3: the server or no device of the peer is reached, or\n" +
			"no way for the media was found; 4: the peer's key changed.\n\n" +
			mediaHelp,
		Example: "  secmsg call start bob\n" +
			"  secmsg call start bob --audio-in alarm.ogg --hangup-after-play\n" +
			"  secmsg call start bob --video-in test --audio-in test --video-out got.mkv\n" +
			"  espeak -w /dev/stdout 'the build failed' | secmsg call start bob --audio-in - --audio-format wav --hangup-after-play",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := positive("--ring", true, ring); err != nil {
				return err
			}
			m, err := a.openMedia(cmd.Context(), cmd, o)
			if err != nil {
				return err
			}
			defer m.close()
			p := local.CallStartParams{Peer: args[0], Ring: ring.Seconds()}
			return a.withDaemon(cmd.Context(), func(c *local.Client) error {
				p.AccountParam, p.CallMedia = a.accountParam(), m.CallMedia
				return a.carryCall(cmd.Context(), c, m, func(ctx context.Context, events func(local.Event)) (local.Call, error) {
					return c.StartCall(ctx, p, m.streams, events)
				})
			})
		},
	}
	o.flags(c)
	c.Flags().DurationVar(&ring, "ring", ringDefault, "let it ring for this long")
	return c
}

// answerOptions are the flags of call answer.
type answerOptions struct {
	mediaOptions
	auto       bool
	from       []string
	forever    bool
	timeout    time.Duration
	hasTimeout bool
}

func newCallAnswerCommand(a *app) *cobra.Command {
	var o answerOptions
	c := &cobra.Command{
		Use:   "answer [ID]",
		Short: "Take a call that rings, or wait for one and take it",
		Long: "Take the call of this id, or the only one that rings, and carry it until one side\n" +
			"hangs up; Ctrl-C hangs up. Nothing is sent before. Exit 9: no call rings.\n\n" +
			"--auto waits for the next call: of the peers in --from, else of contacts with the\n" +
			"policy auto-answer=yes (secmsg contact set). --forever takes one after the other;\n" +
			"of a file as destination each further call makes a numbered one: note (1).ogg.\n\n" +
			mediaHelp,
		Example: "  secmsg call answer\n" +
			"  secmsg call answer --auto --from alice --audio-out - | transcribe\n" +
			"  secmsg call answer --auto --forever --audio-in greeting.ogg --audio-out null --hangup-after-play",
		Args: argsBetween(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasTimeout = cmd.Flags().Changed("timeout")
			p, err := answerParams(o, args)
			if err != nil {
				return err
			}
			o.again = o.forever
			m, err := a.openMedia(cmd.Context(), cmd, o.mediaOptions)
			if err != nil {
				return err
			}
			defer m.close()
			if o.forever && m.streams.AudioIn != nil || o.forever && m.streams.VideoIn != nil {
				return usagef("a stream is read once: --forever goes with files, FIFOs, device and test")
			}
			p.CallMedia = m.CallMedia
			return a.withDaemon(cmd.Context(), func(c *local.Client) error {
				p.AccountParam = a.accountParam()
				return a.answerCalls(cmd.Context(), c, m, p, o.forever)
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.BoolVar(&o.auto, "auto", false, "wait for the next call and take it")
	f.StringArrayVar(&o.from, "from", nil, "with --auto: only calls of this `PEER`; may be repeated")
	f.BoolVar(&o.forever, "forever", false, "with --auto: take one call after the other")
	f.DurationVar(&o.timeout, "timeout", 0, "with --auto: wait no longer than this; then exit 8")
	return c
}

// answerParams checks the flags that say which call.
func answerParams(o answerOptions, args []string) (local.CallAnswerParams, error) {
	p := local.CallAnswerParams{Auto: o.auto, From: o.from, Timeout: o.timeout.Seconds()}
	if len(args) > 0 {
		p.ID = args[0]
	}
	switch {
	case len(args) > 0 && p.ID == "":
		return p, usagef("the id of the call is empty")
	case o.auto && p.ID != "":
		return p, usagef("--auto waits for the next call: it goes without an id")
	case !o.auto && len(o.from) > 0, !o.auto && o.forever, !o.auto && o.hasTimeout:
		return p, usagef("--from, --forever and --timeout go with --auto")
	}
	for _, peer := range o.from {
		if peer == "" {
			return p, usagef("--from is empty")
		}
	}
	return p, positive("--timeout", o.hasTimeout, o.timeout)
}

// answerPause keeps what fails at once from being tried without end.
const answerPause = time.Second

// answerCalls takes one call, or one after the other. A call that failed does
// not end the second; a daemon that is gone, or a mistake that shows at once, does.
func (a *app) answerCalls(ctx context.Context, c *local.Client, m media, p local.CallAnswerParams, forever bool) error {
	for {
		taken, began := false, time.Now()
		err := a.carryCall(ctx, c, m, func(ctx context.Context, events func(local.Event)) (local.Call, error) {
			return c.AnswerCall(ctx, p, m.streams, func(e local.Event) { taken = true; events(e) })
		})
		if !forever || ctx.Err() != nil {
			return err
		}
		if err == nil {
			continue
		}
		if isCode(err, local.CodeNoDaemon) || isCode(err, local.CodeLocked) || errors.Is(err, errReaderLeft) ||
			!taken && (isCode(err, local.CodeTimeout) || time.Since(began) < answerPause) {
			return err
		}
		a.notef("%s", visible(err.Error()))
		select {
		case <-time.After(answerPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
