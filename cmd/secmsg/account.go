package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newAccountCommand(a *app) *cobra.Command {
	var yes bool
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account with its keys and messages from this machine",
		Args:  argsBetween(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runAccountRemove(cmd.Context(), a, args[0], yes) },
	}
	remove.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return groupCommand(a, "account", "List, show, choose and remove accounts",
		&cobra.Command{
			Use: "list", Short: "List the accounts on this machine", Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runAccountList(cmd.Context(), a) },
		},
		&cobra.Command{
			Use: "show [NAME]", Short: "Print an account's address, device and fingerprints", Args: argsBetween(0, 1),
			RunE: func(cmd *cobra.Command, args []string) error { return runAccountShow(cmd.Context(), a, args) },
		},
		&cobra.Command{
			Use: "default NAME", Short: "Choose the account that commands use", Args: argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runAccountDefault(cmd.Context(), a, args[0])
			},
		},
		remove,
	)
}

func runAccountList(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		accounts, err := c.Accounts(ctx)
		if err != nil {
			return err
		}
		t := a.newTable("ADDRESS", "DEFAULT", "DEVICE", "SERVER")
		for _, e := range accounts {
			t.row(e, e.Address, yesNo(e.Default), e.DeviceName, e.Server)
		}
		return t.flush()
	})
}

func runAccountShow(ctx context.Context, a *app, args []string) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		name := a.account
		if len(args) == 1 {
			name = args[0]
		}
		return a.printAccount(c.Account(ctx, name))
	})
}

func (a *app) printAccount(e local.Account, err error) error {
	switch {
	case err != nil:
		return err
	case a.json():
		return a.printJSON(e)
	}
	var l fieldList
	l.add("address", e.Address)
	l.add("default", yesNo(e.Default))
	l.add("device", e.Device+" "+e.DeviceName)
	l.add("fingerprint", e.Fingerprint)
	l.add("realm", e.Realm)
	l.add("server", e.Server)
	l.add("certificate expires", timeText(e.CertificateExpires))
	return a.write([]byte(l.String()))
}

func runAccountRemove(ctx context.Context, a *app, name string, yes bool) error {
	if err := a.confirm(ctx, yes, "remove account "+visible(name)+" with its keys and messages from this machine?"); err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		gone, err := c.Account(ctx, name)
		if err != nil {
			return err
		}
		if err := c.RemoveAccount(ctx, name); err != nil {
			return err
		}
		return a.printChanged(gone, true, "removed account %s from this machine; it still exists on the server", visible(gone.Address))
	})
}

func runAccountDefault(ctx context.Context, a *app, name string) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		before, err := c.Account(ctx, name)
		if err != nil {
			return err
		}
		if err := c.SetDefaultAccount(ctx, name); err != nil {
			return err
		}
		after, err := c.Account(ctx, name)
		if err != nil {
			return err
		}
		return a.printChanged(after, before.Default != after.Default, "%s is now the default account", visible(after.Address))
	})
}
