package main

import (
	"context"
	"fmt"

	"secmsg/config"
	"secmsg/rpc/admin"

	"github.com/spf13/cobra"
)

func newQuotaCommand(a *adminApp) *cobra.Command {
	set := a.verb("set USER SIZE", "Set the quota of an account, such as 50GiB; 0 restores the default", 2, a.quotaSet)
	return groupCommand(a.app, "quota", "Show and set the storage quota of accounts",
		a.verb("show USER", "Show an account's quota and how much of it is used", 1, a.quotaShow), set)
}

func (a *adminApp) quotaShow(ctx context.Context, c *admin.Client, args []string) error {
	q, err := c.Quota(ctx, args[0])
	if err != nil {
		return err
	}
	return a.printQuota(q)
}

func (a *adminApp) quotaSet(ctx context.Context, c *admin.Client, args []string) error {
	var size config.Size
	if err := size.UnmarshalText([]byte(args[1])); err != nil {
		return usagef("%v", err)
	}
	before, err := c.Quota(ctx, args[0])
	if err != nil {
		return err
	}
	q, err := c.SetQuota(ctx, args[0], int64(size))
	if err != nil {
		return err
	}
	changed := before.Quota != q.Quota || before.Own != q.Own
	return a.printChanged(q, changed, "%s: quota %s", visible(q.Name), quotaText(q))
}

func (a *adminApp) printQuota(q admin.Quota) error {
	if a.json() {
		return a.printJSON(q)
	}
	return a.printf("name   %s\nquota  %s\nused   %d bytes\nfiles  %s", visible(q.Name), quotaText(q), q.Used, quotaFiles(q))
}

func quotaText(q admin.Quota) string {
	if q.Own {
		return config.Size(q.Quota).String() + " (set for this account)"
	}
	return config.Size(q.Quota).String() + " (default)"
}

func quotaFiles(q admin.Quota) string {
	return fmt.Sprintf("%d, %d of them unfinished", q.Files, q.Unfinished)
}
