package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newStatusCommand(a *app) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Print the state of the daemon and its connections",
		Long: "Print the state of the daemon and its connections. With --check a probe, sealed\n" +
			"to this device's own key, travels through the server and back. If it does not come\n" +
			"back the exit code is 3; 4 if the server did not prove to belong to the realm, 10\n" +
			"if the account is suspended or the device was removed.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return runStatusCheck(cmd.Context(), a)
			}
			return runStatus(cmd.Context(), a)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "send a probe through the server and back")
	return c
}

func runStatus(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		st, err := settledStatus(ctx, c)
		if err != nil {
			return err
		}
		if of := a.named; of != "" && !st.Locked {
			st.Accounts = slices.DeleteFunc(st.Accounts, func(s local.AccountStatus) bool { return s.Name != of && s.Address != of })
			if len(st.Accounts) == 0 {
				return local.Errorf(local.CodeNotFound, "there is no account %q", of)
			}
		}
		if a.json() {
			return a.printJSON(st)
		}
		return a.write([]byte(statusText(st)))
	})
}

const (
	// settleTime bounds how long status waits for the first connection of a daemon
	// that was just started, perhaps for this very command.
	settleTime = 5 * time.Second
	// settlePause is how often it looks.
	settlePause = 50 * time.Millisecond
)

// settledStatus is the status once each account is connected or has a reason why
// it is not: "not connected" of a daemon that has not tried yet says nothing.
func settledStatus(ctx context.Context, c *local.Client) (local.Status, error) {
	late := time.NewTimer(settleTime)
	defer late.Stop()
	for {
		st, err := c.Status(ctx)
		if err != nil || !slices.ContainsFunc(st.Accounts, func(s local.AccountStatus) bool { return !s.Connected && s.Error == nil }) {
			return st, err
		}
		select {
		case <-time.After(settlePause):
		case <-late.C:
			return st, nil
		case <-ctx.Done():
			return st, ctx.Err()
		}
	}
}

// statusText is a line for the daemon and one for each account.
func statusText(st local.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "daemon pid %d, version %s", st.PID, visible(st.Version))
	if st.Locked {
		b.WriteString(", locked")
	}
	b.WriteByte('\n')
	if st.Replaced {
		b.WriteString("  it still runs the binary from before an upgrade; restart it with: secmsg daemon install, or secmsg daemon stop\n")
	}
	for _, s := range st.Accounts {
		fmt.Fprintf(&b, "%s: %s, outbox %d, held %d, unread %d, last received %s\n",
			visible(s.Address), linkWord(s), s.Outbox, s.Held, s.Unread, timeText(s.LastReceived))
		if s.Error != nil && !s.Connected {
			fmt.Fprintf(&b, "  %s\n", visible(s.Error.Message))
		}
	}
	if len(st.Accounts) == 0 && !st.Locked {
		b.WriteString("no account; make one with: secmsg join INVITE --name NAME\n")
	}
	return b.String()
}

func linkWord(s local.AccountStatus) string {
	switch {
	case s.Connected:
		return "connected"
	case s.Replica:
		return "connected for receiving only"
	case s.Contact:
		return "connected for sending only"
	}
	return "not connected"
}

func runStatusCheck(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		results, err := c.Check(ctx, a.account)
		if err != nil {
			return err
		}
		if len(results) == 0 {
			return local.Errorf(local.CodeNotFound, "no account").WithHint("secmsg join INVITE --name NAME")
		}
		var failed error
		for _, r := range results {
			if a.json() {
				err = a.printJSON(r)
			} else {
				err = a.printf("%s", probeText(r))
			}
			if err != nil {
				return err
			}
			if !r.OK && failed == nil {
				failed = checkError(r)
			}
		}
		return failed
	})
}

func probeText(r local.CheckResult) string {
	if r.OK {
		return fmt.Sprintf("%s: ok, round trip %.1f ms", visible(r.Name), r.RoundMS)
	}
	return visible(r.Name) + ": failed"
}

// checkError is exit 3 whatever went wrong on the way, unless trying again does
// not help: a locked profile, a server that did not prove what it is, an account
// that is suspended or a device that was removed.
func checkError(r local.CheckResult) error {
	if r.Error == nil {
		return local.Errorf(local.CodeUnreachable, "%s: the probe did not come back", r.Name)
	}
	e := *r.Error
	e.Message = r.Name + ": " + e.Message
	switch e.Code {
	case local.CodeLocked, local.CodeUntrusted, local.CodeRefused, local.CodeInterrupted:
	default:
		e.Code, e.Retryable = local.CodeUnreachable, true
	}
	return &e
}
