package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newLockCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lock",
		Short: "Lock a profile that has a passphrase",
		Args:  argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLock(cmd.Context(), a)
		},
	}
}

func newUnlockCommand(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "unlock",
		Short: "Unlock a profile with its passphrase",
		Args:  argsBetween(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runUnlock(cmd.Context(), a, file) },
	}
	c.Flags().StringVar(&file, "passphrase-file", "", "read the passphrase from the first line of `FILE` (- for standard input)")
	return c
}

func runLock(ctx context.Context, a *app) error {
	return a.withAccount(ctx, func(c *local.Client) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if err := c.Lock(ctx); err != nil {
			return err
		}
		return a.printChanged(lockState{true}, !st.Locked, "the profile is locked")
	})
}

// runUnlock first asks the daemon whether the profile is locked, so that nobody is
// asked for a passphrase that is not needed.
func runUnlock(ctx context.Context, a *app, file string) error {
	return a.withAccount(ctx, func(c *local.Client) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if !st.Locked && file == "" {
			return a.printChanged(lockState{false}, false, "the profile is not locked")
		}
		passphrase, err := a.passphrase(ctx, file)
		if err != nil {
			return err
		}
		if err := c.Unlock(ctx, passphrase); err != nil {
			return err
		}
		return a.printChanged(lockState{false}, st.Locked, "the profile is unlocked")
	})
}

// passphrase reads an existing passphrase from a file or the terminal.
func (a *app) passphrase(ctx context.Context, file string) (string, error) {
	if file != "" {
		return a.secretLine(ctx, file)
	}
	if !a.interactive() {
		return "", usagef("there is no terminal to ask for the passphrase").WithHint("use --passphrase-file FILE")
	}
	return a.askSecret(ctx, "Passphrase:")
}
