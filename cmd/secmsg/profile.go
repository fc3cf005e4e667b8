package main

import (
	"context"
	"errors"

	"secmsg/config"
	"secmsg/rpc/local"
)

// profile reads the configuration of the profile, with the global flags as overrides,
// and sets the flags to the resulting values.
func (a *app) profile() (config.Client, error) {
	values := map[string]any{}
	if a.account != "" {
		values["account"] = a.account
	}
	if a.output != "" {
		values["output"] = a.output
	}
	if a.noAutostart {
		values["no_autostart"] = true
	}
	if a.quiet {
		values["quiet"] = true
	}
	if a.verbose {
		values["verbose"] = true
	}
	cfg, err := config.LoadClient(a.home, values)
	if err != nil {
		return config.Client{}, configError(err)
	}
	a.account, a.output = cfg.Account, cfg.Output
	a.noAutostart, a.quiet, a.verbose = cfg.NoAutostart, cfg.Quiet, cfg.Verbose
	return cfg, nil
}

// configError makes a usage error of an error from package config, with its hint if
// it has one. A *config.Invalid stays in the chain, so that run can print its lines.
func configError(err error) error {
	e := usagef("%v", err)
	if bad, ok := errors.AsType[*config.Invalid](err); ok {
		return invalidConfig{e, bad}
	}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		e = e.WithHint("%s", h.Hint())
	}
	return e
}

// invalidConfig is a usage error that knows the lines of its message.
type invalidConfig struct {
	usage  *local.Error
	config *config.Invalid
}

// Error returns the lines.
func (e invalidConfig) Error() string { return e.config.Error() }

// Unwrap returns both.
func (e invalidConfig) Unwrap() []error { return []error{e.usage, e.config} }

// daemonTarget returns the places to look for the daemon of a profile, and this
// command's own version for the hello.
func daemonTarget(cfg config.Client) local.Target {
	return local.Target{
		Sockets: cfg.Paths.Sockets(), Profile: cfg.Paths.Data, Lock: cfg.Paths.Lock,
		Caller: local.HelloParams{Version: config.Version()},
	}
}

// dial connects to the daemon, starting it if needed and allowed.
func (a *app) dial(ctx context.Context) (*local.Client, error) {
	return a.dialAs(ctx, local.HelloParams{Version: config.Version()})
}

// dialAs is dial with other parameters for the hello.
func (a *app) dialAs(ctx context.Context, caller local.HelloParams) (*local.Client, error) {
	cfg, err := a.profile()
	if err != nil {
		return nil, err
	}
	t := daemonTarget(cfg)
	t.Caller, t.Stalled = caller, a.stalled(ctx, cfg)
	c, err := local.Dial(ctx, t)
	switch {
	case err == nil:
		return a.upgraded(ctx, cfg, caller, c)
	case a.noAutostart || !local.IsAbsent(err):
		return nil, err
	}
	return a.startDaemon(ctx, cfg, caller)
}

// withDaemon runs f with a connection to the daemon.
func (a *app) withDaemon(ctx context.Context, f func(*local.Client) error) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// withAccount is withDaemon for a command that does not use an account itself. If the
// caller named one, it must exist all the same.
func (a *app) withAccount(ctx context.Context, f func(*local.Client) error) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		if a.named != "" {
			// A locked profile cannot be asked. A command that needs it unlocked fails later.
			if _, err := c.Account(ctx, a.named); err != nil && !isCode(err, local.CodeLocked) {
				return err
			}
		}
		return f(c)
	})
}

// isCode reports whether err is an *local.Error of this code.
func isCode(err error, code local.Code) bool {
	e, ok := errors.AsType[*local.Error](err)
	return ok && e.Code == code
}

// accountParam names the chosen account. profile has set it.
func (a *app) accountParam() local.AccountParam { return local.AccountParam{Account: a.account} }

// peerParams names a peer of the chosen account.
func (a *app) peerParams(peer string) local.PeerParams {
	return local.PeerParams{AccountParam: a.accountParam(), Peer: peer}
}
