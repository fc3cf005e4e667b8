package main

import (
	"context"
	"errors"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// ringDefault is the default of --ring.
const ringDefault = time.Minute

func newCallStartCommand(a *app) *cobra.Command {
	var o mediaOptions
	ring := ringDefault
	c := &cobra.Command{
		Use:   "start PEER",
		Short: "Call a peer, and return when the call has ended",
		Long: "Call a peer and stay in the call until one side hangs up. Ctrl-C hangs up: the\n" +
			"exit code is 0 if the call was connected, otherwise 130. State changes are\n" +
			"printed as they happen; -o json also prints statistics every second. With\n" +
			"--hangup-after-play, the peer's side rings only once the source has data.\n\n" +
			"Exit codes of a call that was not connected:\n\n" +
			"  3   the server or all devices of the peer are unreachable, or no network path\n" +
			"      for the media was found\n" +
			"  4   the peer's key has changed\n" +
			"  8   nobody answered within the time of --ring\n" +
			"  10  declined, busy, ended by the peer, or no media format that both sides accept\n\n" +
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
	c.Flags().DurationVar(&ring, "ring", ringDefault, "how long to let the call ring")
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
		Short: "Answer a ringing call, or wait for one and answer it",
		Long: "Answer the call with this id, or the only ringing one, and stay in it until one\n" +
			"side hangs up. Ctrl-C hangs up. No media are sent before. Exit 9: no call is\n" +
			"ringing.\n\n" +
			"--auto waits for the next call: from the peers in --from, otherwise from\n" +
			"contacts with the policy auto-answer=yes (secmsg contact set). --forever answers\n" +
			"one call after another. Recordings then get numbered names: note.ogg, note\n" +
			"(1).ogg.\n\n" +
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
				return usagef("--forever cannot use standard input as a source: it can be read only once").
					WithHint("use a file, a FIFO, device or test")
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
	f.BoolVar(&o.auto, "auto", false, "wait for the next call and answer it")
	f.StringArrayVar(&o.from, "from", nil, "with --auto: answer only calls from this `PEER`; may be repeated")
	f.BoolVar(&o.forever, "forever", false, "with --auto: answer one call after another")
	f.DurationVar(&o.timeout, "timeout", 0, "with --auto: give up after this long and exit 8")
	return c
}

// answerParams checks the flags that select the call.
func answerParams(o answerOptions, args []string) (local.CallAnswerParams, error) {
	p := local.CallAnswerParams{Auto: o.auto, From: o.from, Timeout: o.timeout.Seconds()}
	if len(args) > 0 {
		p.ID = args[0]
	}
	switch {
	case len(args) > 0 && p.ID == "":
		return p, usagef("the call id is empty")
	case o.auto && p.ID != "":
		return p, usagef("--auto waits for the next call and takes no call id")
	case !o.auto && len(o.from) > 0, !o.auto && o.forever, !o.auto && o.hasTimeout:
		return p, usagef("--from, --forever and --timeout need --auto")
	}
	for _, peer := range o.from {
		if peer == "" {
			return p, usagef("--from is empty")
		}
	}
	return p, positive("--timeout", o.hasTimeout, o.timeout)
}

// answerPause is the pause after a failed call. A wait that fails sooner than this
// would fail again, so it ends the command.
const answerPause = time.Second

// answerCalls answers one call or, with forever, one after another. A failed call
// does not end the loop. A daemon that is gone does, and so does an error that
// appears before any call was answered.
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
