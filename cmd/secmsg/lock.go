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
			return a.withDaemon(cmd.Context(), func(c *local.Client) error { return c.Lock(cmd.Context()) })
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

func runUnlock(ctx context.Context, a *app, file string) error {
	passphrase, err := a.passphrase(ctx, file)
	if err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error { return c.Unlock(ctx, passphrase) })
}

// passphrase reads an existing passphrase from a file or the terminal.
func (a *app) passphrase(ctx context.Context, file string) (string, error) {
	if file != "" {
		return a.firstLine(ctx, file, "the passphrase")
	}
	if !a.interactive() {
		return "", usagef("without a terminal --passphrase-file is needed")
	}
	return a.askSecret(ctx, "Passphrase:")
}
