package main

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
	"secmsg/serverd"

	"github.com/spf13/cobra"
)

func newServerdCommand(a *app) *cobra.Command {
	return groupCommand(a, "serverd", "Create and run a server", newServerdInitCommand(a), newServerdRunCommand(a))
}

type serverdInitFlags struct {
	domain      string
	address     string
	data        string
	offlineRoot bool
}

func newServerdInitCommand(a *app) *cobra.Command {
	var f serverdInitFlags
	c := &cobra.Command{
		Use:   "init --domain DOMAIN",
		Short: "Create a server: its CA, TLS certificate, database and a first invite",
		Long: "Create everything that a server needs in an empty directory, and print the\n" +
			"realm's fingerprint and an invite for the first account.\n\n" +
			"DOMAIN is the part of every address after the @. --address is the address in\n" +
			"invites, where clients connect. The TLS certificate covers both, plus localhost\n" +
			"and the loopback addresses.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runServerdInit(cmd.Context(), a, f) },
	}
	c.Flags().StringVar(&f.domain, "domain", "", "the realm's `DOMAIN`, such as chat.example.com")
	c.Flags().StringVar(&f.address, "address", "", "`HOST:PORT` where clients reach the server (default DOMAIN:8443)")
	c.Flags().StringVar(&f.data, "data", "", "data directory `DIR` of the server (default $SECMSG_DATA, /var/lib/secmsg for root)")
	c.Flags().BoolVar(&f.offlineRoot, "offline-root", false, "print a reminder to move the root key off the server")
	return c
}

func runServerdInit(ctx context.Context, a *app, f serverdInitFlags) error {
	if f.domain == "" {
		return usagef("--domain is missing").WithHint("secmsg serverd init --domain chat.example.com")
	}
	dir, err := config.ServerDir(f.data)
	if err != nil {
		return err
	}
	r, err := serverd.Init(ctx, serverd.InitOptions{Dir: dir, Domain: f.domain, Address: f.address, Now: time.Now()})
	if err != nil {
		return serverdError(err)
	}
	if f.offlineRoot {
		a.notef("move %s/root.key off this server and keep it safe: it is needed every six months to replace the issuing CA", r.Data)
	}
	if a.json() {
		return a.printJSON(r)
	}
	if err := a.printf("domain       %s\nfingerprint  %s\ninvite       %s\ndata         %s", r.Domain, r.Fingerprint, r.Invite, r.Data); err != nil {
		return err
	}
	a.notef("the invite makes one account within 72 hours; start the server with: secmsg serverd run --data %s", r.Data)
	return nil
}

type serverdRunFlags struct {
	data   string
	listen string
	config string
	roles  []string
}

func newServerdRunCommand(a *app) *cobra.Command {
	var f serverdRunFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the server until SIGTERM or SIGINT (SIGHUP is ignored)",
		Args:  argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			values := map[string]any{}
			if cmd.Flags().Changed("listen") {
				values["listen"] = f.listen
			}
			if cmd.Flags().Changed("roles") {
				values["roles"] = f.roles
			}
			return runServerd(cmd.Context(), a, f, values)
		},
	}
	d := config.DefaultServer()
	c.Flags().StringVar(&f.data, "data", "", "data directory `DIR` of the server (default $SECMSG_DATA, /var/lib/secmsg for root)")
	c.Flags().StringVar(&f.listen, "listen", d.Listen, "`ADDRESS` of the TLS listener")
	c.Flags().StringVar(&f.config, "config", "", "configuration `FILE` (default DIR/config.yaml)")
	c.Flags().StringSliceVar(&f.roles, "roles", d.Roles, "`ROLES` to serve")
	return c
}

func runServerd(ctx context.Context, a *app, f serverdRunFlags, values map[string]any) error {
	dir := f.data
	if dir == "" && f.config == "" {
		var err error
		if dir, err = config.ServerDir(""); err != nil {
			return err
		}
	}
	if dir != "" {
		if err := serverd.CheckDir(dir); err != nil {
			return serverdError(err)
		}
	}
	cfg, err := config.LoadServer(dir, f.config, values)
	if err != nil {
		return configError(err)
	}
	logger, flush, err := a.serverLogger(cfg.Log.Level)
	if err != nil {
		return err
	}
	defer flush()
	defer onAbort(logger, flush, cfg.Data)()
	// A closing terminal must not end a server, and there is no configuration to reload.
	signal.Ignore(syscall.SIGHUP)
	return serverdError(serverd.Run(ctx, cfg, logger))
}

// serverdError gives errors that the administrator can fix the code "usage" and a hint.
func serverdError(err error) error {
	if err == nil {
		return nil
	}
	hint, theirs := serverd.Explain(err)
	if !theirs {
		return err
	}
	code := local.CodeUsage
	if serverd.Damaged(err) {
		code = local.CodeIO
	}
	e := local.Errorf(code, "%v", err)
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	return e
}
