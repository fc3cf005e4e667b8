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
		Long: "Print the state of the daemon and its connections. With --check, send a probe,\n" +
			"encrypted to this device's own key, through the server and back. The exit code\n" +
			"is 3 if the probe does not return, 4 if the server could not prove that it\n" +
			"belongs to the realm, and 10 if the account is suspended or the device was\n" +
			"removed.",
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
				return local.Errorf(local.CodeNotFound, "account %q does not exist in this profile", of).WithHint("list the accounts with: secmsg account list")
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
	// that has just started.
	settleTime = 5 * time.Second
	// settlePause is the pause between two looks at the status.
	settlePause = 50 * time.Millisecond
)

// settledStatus returns the status once each account is connected or has an error. A
// daemon that has not tried to connect yet has neither.
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

// statusText formats a line for the daemon and one for each account.
func statusText(st local.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "daemon pid %d, version %s", st.PID, visible(st.Version))
	if st.Locked {
		b.WriteString(", locked")
	}
	b.WriteByte('\n')
	if st.Replaced {
		b.WriteString("  the daemon still runs the binary from before an upgrade; restart it with: secmsg daemon install, or secmsg daemon stop\n")
	}
	for _, s := range st.Accounts {
		fmt.Fprintf(&b, "%s: %s, outbox %d, held %d, unread %d, last received %s\n",
			visible(s.Address), linkWord(s), s.Outbox, s.Held, s.Unread, timeText(s.LastReceived))
		if s.Error != nil && !s.Connected {
			fmt.Fprintf(&b, "  %s\n", visible(s.Error.Message))
		}
	}
	if len(st.Accounts) == 0 && !st.Locked {
		b.WriteString("no account; create one with: secmsg join INVITE --name NAME\n")
	}
	return b.String()
}

func linkWord(s local.AccountStatus) string {
	switch {
	case s.Connected:
		return "connected"
	case s.Replica:
		return "connected (receiving only)"
	case s.Contact:
		return "connected (sending only)"
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
			return local.Errorf(local.CodeNotFound, "this profile has no account").WithHint("create one with: secmsg join INVITE --name NAME")
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

// checkError returns the error of a failed check. Its exit code is 3, except for
// failures that a retry does not cure: a locked profile, a server that could not prove
// its identity, a suspended account or a removed device.
func checkError(r local.CheckResult) error {
	if r.Error == nil {
		return local.Errorf(local.CodeUnreachable, "%s: the probe did not return", r.Name)
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
