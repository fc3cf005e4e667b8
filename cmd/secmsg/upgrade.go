package main

import (
	"context"
	"os"
	"strings"

	"golang.org/x/mod/semver"

	"secmsg/config"
	"secmsg/rpc/local"
)

// upgraded looks at the version of the daemon behind c. If this command is
// newer, the daemon is restarted where that disturbs nobody; otherwise the user
// is told what to do. The connection that it returns takes the place of c.
func (a *app) upgraded(ctx context.Context, cfg config.Client, caller local.HelloParams, c *local.Client) (*local.Client, error) {
	h, own := c.Hello(), config.Version()
	if h.Version == own {
		return c, nil
	}
	theirs := h.Version
	if theirs == "" {
		theirs = "(unknown)"
	}
	if !newer(own, h.Version) {
		if a.verbose {
			a.notef("the daemon is of version %s, this command of %s", visible(theirs), own)
		}
		return c, nil
	}
	if why, hint := a.restartBlocked(h); why != "" {
		a.notef("the daemon is of the older version %s, and %s; %s", visible(theirs), why, hint)
		return c, nil
	}
	target, err := daemonProcess(cfg, h)
	if err != nil {
		return nil, err
	}
	defer target.release()
	if err := c.StopIfIdle(ctx); err != nil && !isCode(err, local.CodeNoDaemon) {
		a.notef("the daemon is of the older version %s and was not restarted: %s; to restart it: secmsg daemon stop",
			visible(theirs), visible(err.Error()))
		return c, nil
	}
	_ = c.Close()
	if err := target.waitGone(ctx, stopTimeout); err != nil {
		return nil, err
	}
	a.notef("restarted the daemon, which was of the older version %s", visible(theirs))
	return a.startDaemon(ctx, cfg, caller)
}

// newer reports whether a version is known to be later than another one. Builds
// from a checkout without its history have no order.
func newer(version, than string) bool {
	return semver.IsValid(version) && semver.IsValid(than) && semver.Compare(version, than) > 0
}

// restartBlocked says why a restart of a daemon would not bring this command's
// version, or may not be done, and what to do; both are empty if it would.
func (a *app) restartBlocked(h local.Hello) (why, hint string) {
	switch {
	case a.noAutostart:
		return "this command may not start one", "to restart it: secmsg daemon stop"
	case h.Unit == "" || strings.HasPrefix(h.Unit, local.TransientPrefix):
		return "", "" // the next one is started by this command
	case h.Manager == local.ManagerSystem:
		return "the service " + h.Unit + " of the system runs it", "to restart it: sudo systemctl restart " + h.Unit
	}
	own, err := os.Executable()
	if err == nil {
		var mine, unit os.FileInfo
		if mine, err = os.Stat(own); err == nil {
			if unit, err = os.Stat(h.Program); err == nil && os.SameFile(mine, unit) {
				return "", ""
			}
		}
	}
	return "its service runs " + visible(h.Program), "to run this version there: secmsg daemon install"
}
