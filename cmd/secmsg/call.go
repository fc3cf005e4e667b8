package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newCallCommand(a *app) *cobra.Command {
	one := func(use, short string, run func(*local.Client, context.Context, local.CallIDParams) (local.Call, error)) *cobra.Command {
		return &cobra.Command{
			Use: use + " [ID]", Short: short, Args: argsBetween(0, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.callDone(cmd.Context(), args, func(ctx context.Context, c *local.Client, p local.CallIDParams) (local.Call, error) {
					return run(c, ctx, p)
				})
			},
		}
	}
	mute := func(on bool) func(*local.Client, context.Context, local.CallIDParams) (local.Call, error) {
		return func(c *local.Client, ctx context.Context, p local.CallIDParams) (local.Call, error) {
			return c.MuteCall(ctx, p, on)
		}
	}
	return groupCommand(a, "call", "Make and take voice and video calls, with devices, files or pipes",
		newCallStartCommand(a),
		newCallAnswerCommand(a),
		one("reject", "Decline a ringing call", (*local.Client).RejectCall),
		one("hangup", "End a call", (*local.Client).HangupCall),
		newCallListCommand(a),
		&cobra.Command{
			Use: "status", Short: "Print the calls that are ringing or connected", Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runCallStatus(cmd.Context(), a) },
		},
		one("mute", "Stop sending audio", mute(true)),
		one("unmute", "Send audio again", mute(false)),
		newCallCameraCommand(a),
	)
}

func newCallListCommand(a *app) *cobra.Command {
	var p local.CallListParams
	c := &cobra.Command{
		Use:   "list",
		Short: "List past calls, oldest first",
		Long: "List the past calls with all peers or with one, oldest first, and how they\n" +
			"ended. A missed call is an incoming one that you neither answered nor declined.",
		Example: "  secmsg call list --peer bob\n  secmsg call list -o json | jq -r 'select(.call.missed).peer'",
		Args:    argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Limit < 1 {
				return usagef("-n must be at least 1")
			}
			return runCallList(cmd.Context(), a, p)
		},
	}
	c.Flags().StringVar(&p.Peer, "peer", "", "only calls with this `PEER`")
	c.Flags().IntVarP(&p.Limit, "number", "n", 50, "list the last `N` calls")
	return c
}

func runCallList(ctx context.Context, a *app, p local.CallListParams) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		r, err := c.ListCalls(ctx, p)
		if err != nil {
			return err
		}
		t := a.newTable("ID", "TIME", "", "PEER", "DURATION", "REASON")
		for i := range r.Events {
			e := &r.Events[i]
			if e.Call == nil {
				continue
			}
			way, how := "from", e.Call.Reason
			if e.Call.Direction == local.DirectionOut {
				way = "to"
			}
			if e.Call.Missed {
				how = "missed"
			}
			t.row(e, e.Call.ID, timeText(e.Time), way, e.Peer, secondsText(e.Call.Duration), how)
		}
		return t.flush()
	})
}

// callEvent is a call in the shape of an event, so that one filter fits all output
// of the call commands.
type callEvent struct {
	Type string     `json:"type"`
	Peer string     `json:"peer,omitempty"`
	Call local.Call `json:"call"`
}

func runCallStatus(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.CallStatus(ctx, a.account)
		if err != nil {
			return err
		}
		t := a.newTable("ID", "", "PEER", "STATE", "DURATION", "MEDIA")
		for _, e := range r.Calls {
			way := "from"
			if e.Direction == local.DirectionOut {
				way = "to"
			}
			t.row(callEvent{local.TypeCall, e.Peer, e.Call}, e.ID, way, e.Peer, e.State, secondsText(e.Duration), statsText(e.Stats))
		}
		return t.flush()
	})
}

func newCallCameraCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "camera on|off [ID]", Short: "Start or stop sending video", Args: argsBetween(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return usagef("%q is not one of on, off", args[0])
			}
			return a.callDone(cmd.Context(), args[1:], func(ctx context.Context, c *local.Client, p local.CallIDParams) (local.Call, error) {
				return c.Camera(ctx, local.CallCameraParams{CallIDParams: p, On: args[0] == "on"})
			})
		},
	}
}

// callDone acts on the call that args name, or on the only one, and prints its new
// state.
func (a *app) callDone(ctx context.Context, args []string, do func(context.Context, *local.Client, local.CallIDParams) (local.Call, error)) error {
	p := local.CallIDParams{}
	if len(args) > 0 {
		if args[0] == "" {
			return usagef("the call id is empty")
		}
		p.ID = args[0]
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		call, err := do(ctx, c, p)
		if err != nil {
			return err
		}
		changed := call.Changed != nil && *call.Changed
		call.Changed = nil // printChanged puts it beside the call, as for all commands
		return a.printChanged(callEvent{Type: local.TypeCall, Call: call}, changed, "%s", visible(call.ID+" "+callState(&call)))
	})
}
