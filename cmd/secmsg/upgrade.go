package main

import (
	"context"
	"os"
	"strings"

	"golang.org/x/mod/semver"

	"secmsg/config"
	"secmsg/rpc/local"
)

// upgraded compares the version of the daemon at c with this command's. If the command
// is newer, it restarts the daemon if that disturbs nobody; otherwise it tells the user
// what to do. The returned connection replaces c.
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
			a.notef("the daemon has version %s, this command has version %s", visible(theirs), own)
		}
		return c, nil
	}
	if why, hint := a.restartBlocked(h); why != "" {
		a.notef("the daemon has the older version %s, and %s; %s", visible(theirs), why, hint)
		return c, nil
	}
	target, err := daemonProcess(cfg, h)
	if err != nil {
		return nil, err
	}
	defer target.release()
	if err := c.StopIfIdle(ctx); err != nil && !isCode(err, local.CodeNoDaemon) {
		a.notef("the daemon has the older version %s and was not restarted: %s; to restart it: secmsg daemon stop",
			visible(theirs), visible(err.Error()))
		return c, nil
	}
	_ = c.Close()
	if err := target.waitGone(ctx, stopTimeout); err != nil {
		return nil, err
	}
	a.notef("restarted the daemon, which had the older version %s", visible(theirs))
	return a.startDaemon(ctx, cfg, caller)
}

// newer reports whether a version is known to be later than another one. Versions of
// builds without a release tag cannot be compared.
func newer(version, than string) bool {
	return semver.IsValid(version) && semver.IsValid(than) && semver.Compare(version, than) > 0
}

// restartBlocked returns why this command must not restart the daemon, or why that
// would not start this command's version, and a hint. Both are empty if a restart helps.
func (a *app) restartBlocked(h local.Hello) (why, hint string) {
	switch {
	case a.noAutostart:
		return "this command may not start a daemon", "to restart it: secmsg daemon stop"
	case h.Unit == "" || strings.HasPrefix(h.Unit, local.TransientPrefix):
		return "", "" // this command starts the next one
	case h.Manager == local.ManagerSystem:
		return "the system service " + h.Unit + " runs it", "to restart it: sudo systemctl restart " + h.Unit
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
