package main

import (
	"context"
	"strings"

	"secmsg/rpc/admin"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newAdminCheckCommand(a *adminApp) *cobra.Command {
	var confirm bool
	c := a.verb("check", "Run the server's health checks; exit 3 if one fails", 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		return a.check(ctx, c, confirm)
	})
	c.Long = "Run the server's health checks. The exit code is 3 if one fails.\n\n" +
		"If the wall clock jumps by more than an hour, or is more than a week ahead when\n" +
		"the server starts, the server keeps its own time and deletes nothing that\n" +
		"expires. Correct the clock if it is wrong, then run this command with\n" +
		"--confirm-clock to make the server accept it."
	c.Flags().BoolVar(&confirm, "confirm-clock", false, "accept the present time of the machine's clock")
	return c
}

// checked is the result of `admin check`.
type checked struct {
	Healthy  bool          `json:"healthy"`
	Checks   []admin.Check `json:"checks"`
	Warnings []string      `json:"warnings"`
}

func (a *adminApp) check(ctx context.Context, c *admin.Client, confirm bool) error {
	if confirm {
		r, err := c.ConfirmClock(ctx)
		if err != nil {
			return err
		}
		a.notef("the server's time moved by %d s and is now %s", r.MovedSec, r.Time)
	}
	s, err := c.Stats(ctx)
	if err != nil {
		return err
	}
	if err := a.printChecked(checked{s.Healthy, s.Checks, s.Warnings}); err != nil {
		return err
	}
	var failed []string
	for _, c := range s.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return local.Errorf(local.CodeUnreachable, "the server is not healthy: %s", visible(strings.Join(failed, ", ")))
}

func (a *adminApp) printChecked(s checked) error {
	if a.json() {
		return a.printJSON(s)
	}
	for _, c := range s.Checks {
		state := "ok"
		if !c.OK {
			state = "failed: " + visible(c.Message)
		}
		if err := a.printf("%s  %s", visible(c.Name), state); err != nil {
			return err
		}
	}
	for _, w := range s.Warnings {
		if err := a.printf("warning  %s", visible(w)); err != nil {
			return err
		}
	}
	return nil
}
