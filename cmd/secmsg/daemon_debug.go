package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newDaemonDebugCommand(a *app) *cobra.Command {
	var goroutines bool
	c := &cobra.Command{
		Use:   "debug",
		Short: "Show what the daemon is waiting for",
		Long: `Shows, for each account, the tasks that are due, the queues to devices that
refuse messages for now and why, the questions to the server that failed, and
how many envelopes were not shown, by reason. It never starts the daemon.

To follow one message, set log.level: debug in config.yaml and restart the
daemon: its log then has a line for each station that a message passes. On the
server, "secmsg admin trace ID" shows the stations there.`,
		Example: `  secmsg daemon debug
  secmsg daemon debug --goroutines    # for a report about a daemon that hangs`,
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonDebug(cmd.Context(), a, goroutines) },
	}
	c.Flags().BoolVar(&goroutines, "goroutines", false, "print the stacks of the daemon's goroutines instead")
	return c
}

func runDaemonDebug(ctx context.Context, a *app, goroutines bool) error {
	return a.withRunningDaemon(ctx, func(c *local.Client) error {
		if goroutines {
			g, err := c.DebugGoroutines(ctx)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(g)
			}
			return a.printf("%s", strings.TrimSuffix(g.Text, "\n"))
		}
		st, err := c.DebugState(ctx)
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(st)
		}
		return a.printDebug(st)
	})
}

// printDebug prints the state of the daemon as text.
func (a *app) printDebug(st local.DebugState) error {
	lines := []string{fmt.Sprintf("goroutines  %d\nheap        %d bytes", st.Goroutines, st.HeapBytes)}
	for _, acc := range st.Accounts {
		lines = append(lines, debugLines(acc)...)
	}
	return a.printf("%s", strings.Join(lines, "\n"))
}

// debugLines describes one account.
func debugLines(d local.DebugAccount) []string {
	state := "away"
	if d.Up {
		state = "connected"
	}
	lines := []string{"", fmt.Sprintf("%s  %s, %d of %d envelopes in flight", visible(d.Address), state, d.InFlight, d.Window)}
	add := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	if d.Paused > 0 {
		add("paused by the server's rate limit for %s", seconds(d.Paused))
	}
	for _, t := range d.Tasks {
		add("task %-12s in %s", visible(t.Name), seconds(t.In))
	}
	for _, p := range d.Pairs {
		why := ""
		if p.Blocked != "" {
			why = fmt.Sprintf(", refused (%s) %d times, next try in %s", visible(p.Blocked), p.Tries, seconds(p.RetryIn))
		}
		if p.Full {
			why += ", the mailbox stayed full"
		}
		add("device %s of %s: %d waiting, %d in flight%s", visible(p.Device), visible(p.Peer), p.Waiting, p.InFlight, why)
	}
	for _, p := range d.Peers {
		var what []string
		if p.Asking {
			what = append(what, "the server is being asked about it")
		}
		if p.RetryIn > 0 {
			what = append(what, fmt.Sprintf("asking failed %d times, next try in %s", p.Tries, seconds(p.RetryIn)))
		}
		if p.Refresh {
			what = append(what, "its list of devices must be fetched")
		}
		if p.WithoutKeys > 0 {
			what = append(what, fmt.Sprintf("devices without keys: %d", p.WithoutKeys))
		}
		if len(what) > 0 {
			add("peer %s: %s", visible(p.Peer), strings.Join(what, "; "))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(d.Counts)) {
		add("not shown (%s): %d", visible(reason), d.Counts[reason])
	}
	return lines
}

// seconds formats a number of seconds as a duration.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}
