package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"secmsg/config"
	"secmsg/rpc/admin"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// statsEvery is how often `admin stats --watch` prints.
const statsEvery = 2 * time.Second

// adminApp is the state that the admin commands share.
type adminApp struct {
	*app
	data string // --data
}

func newAdminCommand(a *app) *cobra.Command {
	aa := &adminApp{app: a}
	c := groupCommand(a, "admin", "Administer a server on this machine",
		groupCommand(a, "invite", "Create, list and revoke invites",
			newInviteCreateCommand(aa),
			aa.verb("list", "List all invites, newest first", 0, aa.inviteList),
			aa.verb("revoke ID", "Revoke an invite", 1, aa.inviteRevoke)),
		groupCommand(a, "user", "List, show, suspend and delete accounts",
			aa.verb("list", "List all accounts", 0, aa.userList),
			aa.verb("show USER", "Show an account, its devices, its quota and the space its files use", 1, aa.userShow),
			aa.verb("suspend USER", "Suspend an account and close its connections", 1, aa.userSuspend),
			aa.verb("resume USER", "Lift the suspension of an account", 1, aa.userResume),
			aa.verb("delete USER", "Delete an account and everything the server holds for it", 1, aa.userDelete)),
		groupCommand(a, "device", "List the devices of accounts",
			aa.verb("list USER", "List the devices of an account, including revoked ones", 1, aa.deviceList)),
		newQuotaCommand(aa),
		newTraceCommand(aa),
		newStatsCommand(aa),
		newAdminCheckCommand(aa),
	)
	c.PersistentFlags().StringVar(&aa.data, "data", "", "data directory `DIR` of the server (default $SECMSG_DATA, /var/lib/secmsg for root)")
	return c
}

// verb makes a command that takes a fixed number of arguments and calls the server.
func (a *adminApp) verb(use, short string, args int, run func(context.Context, *admin.Client, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: argsBetween(args, args),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withServer(func(c *admin.Client) error { return run(cmd.Context(), c, args) })
		},
	}
}

// withServer calls f with a client of the admin socket and maps its error.
func (a *adminApp) withServer(f func(*admin.Client) error) error {
	dir, err := config.ServerDir(a.data)
	if err != nil {
		return err
	}
	c := admin.NewClient(filepath.Join(dir, admin.SocketName))
	defer c.Close()
	err = f(c)
	if e, ok := errors.AsType[*admin.Error](err); ok {
		return local.Errorf(adminCode(e.Code), "%s", e.Message)
	}
	if !errors.Is(err, admin.ErrUnreachable) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return local.Errorf(local.CodeUnreachable, "the admin socket in %s belongs to another user", dir).
			WithHint("run this command as the user who runs the server")
	}
	return local.Errorf(local.CodeUnreachable, "no server is running on %s", dir).
		WithHint("start it with: secmsg serverd run --data %s; or name the directory of another server with --data", dir)
}

// adminCode maps the codes of the admin socket to those of the exit table.
func adminCode(c admin.Code) local.Code {
	switch c {
	case admin.CodeMalformed, admin.CodeConflict:
		return local.CodeUsage
	case admin.CodeNotFound:
		return local.CodeNotFound
	case admin.CodeDisk:
		return local.CodeDiskFull
	}
	return local.CodeInternal
}

func newInviteCreateCommand(a *adminApp) *cobra.Command {
	var uses int
	var expires time.Duration
	c := a.verb("create", "Create an invite and print it", 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		return a.inviteCreate(ctx, c, uses, expires)
	})
	c.Flags().IntVar(&uses, "uses", 1, "how many accounts can be created with it")
	c.Flags().DurationVar(&expires, "expires", 72*time.Hour, "how long it stays valid")
	return c
}

func (a *adminApp) inviteCreate(ctx context.Context, c *admin.Client, uses int, expires time.Duration) error {
	if expires < time.Second {
		return usagef("--expires must be at least 1s")
	}
	r, err := c.CreateInvite(ctx, admin.CreateInvite{Uses: uses, LifeSec: int64(expires / time.Second)})
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(r)
	}
	a.notef("invite %s: valid for %d account(s) until %s", r.ID, r.Uses, r.Expires)
	return a.printf("%s", r.Invite)
}

func (a *adminApp) inviteList(ctx context.Context, c *admin.Client, _ []string) error {
	r, err := c.Invites(ctx)
	if err != nil {
		return err
	}
	t := a.newTable("ID", "STATE", "USED", "CREATED", "EXPIRES")
	for _, i := range r.Invites {
		t.row(i, i.ID, i.State, fmt.Sprintf("%d/%d", i.Used, i.Uses), i.Created, i.Expires)
	}
	return t.flush()
}

func (a *adminApp) inviteRevoke(ctx context.Context, c *admin.Client, args []string) error {
	before, err := inviteNamed(ctx, c, args[0])
	if err != nil {
		return err
	}
	if err := c.RevokeInvite(ctx, args[0]); err != nil {
		return err
	}
	after, err := inviteNamed(ctx, c, args[0])
	if err != nil {
		return err
	}
	return a.printChanged(after, differ(before, after), "invite %s revoked", visible(after.ID))
}

// inviteNamed returns one invite in the form that invite list prints.
func inviteNamed(ctx context.Context, c *admin.Client, id string) (admin.Invite, error) {
	r, err := c.Invites(ctx)
	if err != nil {
		return admin.Invite{}, err
	}
	for _, i := range r.Invites {
		if i.ID == id {
			return i, nil
		}
	}
	return admin.Invite{}, local.Errorf(local.CodeNotFound, "invite %q does not exist", id).WithHint("list all invites with: secmsg admin invite list")
}

func (a *adminApp) userList(ctx context.Context, c *admin.Client, _ []string) error {
	t := a.newTable("NAME", "CREATED", "SUSPENDED", "CERTIFICATE", "FINGERPRINT")
	for after := ""; ; {
		r, err := c.Users(ctx, after)
		if err != nil {
			return err
		}
		for _, u := range r.Users {
			t.row(u, u.Name, u.Created, yesNo(u.Suspended), u.Certificate, u.Fingerprint)
		}
		if after = r.Next; after == "" {
			return t.flush()
		}
	}
}

func (a *adminApp) userShow(ctx context.Context, c *admin.Client, args []string) error {
	u, err := c.User(ctx, args[0])
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(u)
	}
	text := fmt.Sprintf("name         %s\naddress      %s\nfingerprint  %s\ncreated      %s\nsuspended    %s\nmanifest     %d\ncertificate  until %s\n",
		visible(u.Name), visible(u.Address), u.Fingerprint, u.Created, yesNo(u.Suspended), u.Manifest, u.Certificate)
	if q := u.Quota; q != nil { // absent from servers of earlier versions
		text += fmt.Sprintf("quota        %s\nused         %d bytes\nfiles        %s\n", quotaText(*q), q.Used, quotaFiles(*q))
	}
	if err := a.printf("%s", text); err != nil {
		return err
	}
	return a.deviceTable(u.Devices)
}

func (a *adminApp) userSuspend(ctx context.Context, c *admin.Client, args []string) error {
	return a.changeUser(ctx, c, args[0], c.Suspend, "suspended")
}

func (a *adminApp) userResume(ctx context.Context, c *admin.Client, args []string) error {
	return a.changeUser(ctx, c, args[0], c.Resume, "resumed")
}

// changeUser changes an account and prints the result.
func (a *adminApp) changeUser(ctx context.Context, c *admin.Client, name string, change func(context.Context, string) error, what string) error {
	before, err := c.User(ctx, name)
	if err != nil {
		return err
	}
	if err := change(ctx, name); err != nil {
		return err
	}
	after, err := c.User(ctx, name)
	if err != nil {
		return err
	}
	return a.printChanged(after, before.Suspended != after.Suspended, "%s %s", visible(after.Name), what)
}

func (a *adminApp) userDelete(ctx context.Context, c *admin.Client, args []string) error {
	gone, err := c.User(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.DeleteUser(ctx, args[0]); err != nil {
		return err
	}
	return a.printChanged(gone, true, "%s deleted", visible(gone.Name))
}

func (a *adminApp) deviceList(ctx context.Context, c *admin.Client, args []string) error {
	r, err := c.Devices(ctx, args[0])
	if err != nil {
		return err
	}
	return a.deviceTable(r.Devices)
}

func (a *adminApp) deviceTable(devices []admin.Device) error {
	t := a.newTable("ID", "NAME", "ADDED", "LAST SEEN", "REVOKED", "WAITING", "BYTES")
	for _, d := range devices {
		seen := d.LastSeen.String()
		if d.Connected {
			seen = "connected"
		}
		t.row(d, d.ID, d.Name, d.Added, seen, yesNo(d.Revoked), d.MailboxEnvelopes, d.MailboxBytes)
	}
	return t.flush()
}

func newStatsCommand(a *adminApp) *cobra.Command {
	var watch bool
	c := a.verb("stats", "Show the server's health and counters", 0, func(ctx context.Context, c *admin.Client, _ []string) error {
		return a.stats(ctx, c, watch)
	})
	c.Flags().BoolVar(&watch, "watch", false, "print again every two seconds")
	return c
}

func (a *adminApp) stats(ctx context.Context, c *admin.Client, watch bool) error {
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for {
		s, err := c.Stats(ctx)
		if err != nil {
			return err
		}
		if err := a.printStats(s); err != nil || !watch {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *adminApp) printStats(s admin.Stats) error {
	if a.json() {
		return a.printJSON(s)
	}
	if err := a.printf("time     %s\nup       %s\nhealthy  %s", s.Time, time.Duration(s.Uptime)*time.Second, yesNo(s.Healthy)); err != nil {
		return err
	}
	for _, c := range s.Checks {
		if !c.OK {
			if err := a.printf("failed   %s: %s", visible(c.Name), visible(c.Message)); err != nil {
				return err
			}
		}
	}
	for _, w := range s.Warnings {
		if err := a.printf("warning  %s", visible(w)); err != nil {
			return err
		}
	}
	for _, group := range slices.Sorted(maps.Keys(s.Counters)) {
		for _, name := range slices.Sorted(maps.Keys(s.Counters[group])) {
			if err := a.printf("%s.%s  %d", visible(group), visible(name), s.Counters[group][name]); err != nil {
				return err
			}
		}
	}
	return nil
}
