package main

import (
	"context"
	"os"
	"strings"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// joinOptions are the flags of join.
type joinOptions struct {
	name           string
	deviceName     string
	passphraseFile string
}

func newJoinCommand(a *app) *cobra.Command {
	var o joinOptions
	c := &cobra.Command{
		Use:   "join INVITE --name NAME",
		Short: "Create an account with an invite",
		Long: "Create an account on the server that the invite names. With -, the invite is\n" +
			"read from standard input. The keys are generated on this machine and never leave\n" +
			"it. If join is interrupted, run the same command again to continue.",
		Example: "  secmsg join secmsg://chat.example.com:8443/join#... --name alice",
		Args:    argsBetween(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runJoin(cmd.Context(), a, o, args[0]) },
	}
	c.Flags().StringVar(&o.name, "name", "", "`NAME` of the account: the part of its address before the @")
	c.Flags().StringVar(&o.deviceName, "device-name", "", "`NAME` of this device (default: the host name)")
	c.Flags().StringVar(&o.passphraseFile, "passphrase-file", "", "protect the profile with a passphrase: the first line of `FILE` (- for standard input)")
	return c
}

func runJoin(ctx context.Context, a *app, o joinOptions, invite string) error {
	interactive := a.interactive() && invite != "-" && o.passphraseFile != "-"
	if invite == "-" {
		if o.passphraseFile == "-" {
			return usagef("standard input cannot hold both the invite and the passphrase")
		}
		line, err := a.firstLine(ctx, "-", "the invite")
		if err != nil {
			return err
		}
		invite = line
	}
	p := local.JoinParams{Invite: strings.TrimSpace(invite), Name: o.name, DeviceName: o.deviceName}
	if p.Invite == "" {
		return usagef("the invite is empty")
	}
	var err error
	if p.Name == "" && interactive {
		if p.Name, err = a.ask(ctx, "Account name:"); err != nil {
			return err
		}
	}
	if p.Name == "" {
		return usagef("--name is missing")
	}
	if p.DeviceName == "" {
		if p.DeviceName, err = os.Hostname(); err != nil || p.DeviceName == "" {
			p.DeviceName = "device"
		}
	}
	if o.passphraseFile != "" {
		if p.Passphrase, err = a.newSecretLine(ctx, o.passphraseFile); err != nil {
			return err
		}
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		if interactive && p.Passphrase == "" {
			if p.Passphrase, err = a.newPassphrase(ctx, c); err != nil {
				return err
			}
		}
		acct, err := c.Join(ctx, p)
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(acct)
		}
		return a.printf("%s", visible(acct.Address))
	})
}

// newPassphrase asks for the passphrase of a profile that holds no account yet.
func (a *app) newPassphrase(ctx context.Context, c *local.Client) (string, error) {
	st, err := c.Status(ctx)
	if err != nil || st.Locked || len(st.Accounts) > 0 {
		return "", err
	}
	first, err := a.askSecret(ctx, "Passphrase for this profile (empty for none):")
	if err != nil || first == "" {
		return "", err
	}
	return first, a.again(ctx, first)
}
