package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"secmsg/config"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newDaemonInstallCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Install the daemon as a systemd user service with socket activation",
		Long: "Writes the units secmsg.service and secmsg.socket for this user, enables and starts\n" +
			"them. A daemon that runs already is stopped, and the service takes over. Run it\n" +
			"again after an upgrade: the service is then restarted with the new binary.\n\n" +
			"The service runs the name by which this command was called, so that a link to the\n" +
			"binary may point to a newer one later. Exit 3 if systemd did not start it.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonInstall(cmd.Context(), a) },
	}
}

func newDaemonUninstallCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stop and remove the systemd user service and socket",
		Long: "Stops the service and the socket, and removes their units. Drop-ins that you wrote\n" +
			"stay. Exit 3, with nothing removed, if systemd's manager of this user runs and does not answer.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonUninstall(cmd.Context(), a) },
	}
}

// installResult is what `daemon install` prints with -o json.
type installResult struct {
	Service string `json:"service"` // path of the unit
	Socket  string `json:"socket"`  // path of the unit
	Exec    string `json:"exec"`    // the binary that the service runs
	Enabled bool   `json:"enabled"`
	PID     int    `json:"pid"`     // of the service; 0 if it does not run
	Sandbox bool   `json:"sandbox"` // with the lines that need user namespaces
	Linger  bool   `json:"linger"`  // runs without a login
}

func runDaemonInstall(ctx context.Context, a *app) error {
	dir, err := a.unitDir()
	if err != nil {
		return err
	}
	exe, err := calledName(os.Args[0])
	if err != nil {
		return err
	}
	m, noManager := a.reachManager(ctx)
	sandboxed := true
	if noManager == nil {
		if err := m.looksInto(ctx, dir); err != nil {
			return err
		}
		if err := m.probeSandbox(ctx, exe); err != nil {
			sandboxed = false
			if a.verbose {
				a.notef("the service gets no user namespace: %v", err)
			}
		}
	}
	units := makeUnits(ctx, dir, exe, sandboxed)
	changed, err := units.write()
	if err != nil {
		return err
	}
	r := installResult{Service: units.service, Socket: units.socket, Exec: exe, Sandbox: sandboxed, Linger: lingers()}
	if noManager == nil {
		err = a.enableUnits(ctx, m, changed, &r)
	} else {
		err = managerError(noManager).WithHint("the units are written; when systemd answers: "+
			"systemctl --user daemon-reload && systemctl --user enable --now %s %s", socketFile, serviceName)
	}
	if printErr := a.printInstall(r); printErr != nil && err == nil {
		err = printErr
	}
	if err == nil && !r.Linger {
		a.notef("the service runs while you are logged in; to let it run without a login: loginctl enable-linger")
	}
	return err
}

func (a *app) printInstall(r installResult) error {
	if a.json() {
		return a.printJSON(r)
	}
	return a.printf("%s\n%s", r.Service, r.Socket)
}

// reachManager finds the user's manager and asks whether it answers.
func (a *app) reachManager(ctx context.Context) (userManager, error) {
	m, ok := findUserManager()
	if !ok {
		return m, errNoManager
	}
	return m, m.answers(ctx)
}

// enableUnits makes the manager run the units that stand on disk.
func (a *app) enableUnits(ctx context.Context, m userManager, changed bool, r *installResult) error {
	if err := m.systemctl(ctx, "daemon-reload"); err != nil {
		return managerError(err)
	}
	// From here on commands that find no daemon ask the manager, so that nobody
	// starts another one while the old one ends.
	service, err := m.state(ctx, serviceName)
	if err != nil {
		return managerError(err)
	}
	stopped, current, err := a.handOver(ctx, service.pid)
	if err != nil {
		return err
	}
	if stopped != 0 {
		a.notef("stopped the daemon, pid %d, that ran outside of the service", stopped)
	}
	_ = m.systemctl(ctx, "reset-failed", socketFile, serviceName) // fails if nothing failed before
	if err := m.systemctl(ctx, "enable", socketFile, serviceName); err != nil {
		return managerError(err)
	}
	r.Enabled = true
	verb := "start"
	if changed || !current {
		verb = "restart"
	}
	if err := m.systemctl(ctx, verb, socketFile, serviceName); err != nil {
		return managerError(err).WithHint("see why: journalctl --user -u %s -n 20", serviceName)
	}
	if service, err = m.state(ctx, serviceName); err != nil {
		return managerError(err)
	}
	if service.active != "active" {
		return local.Errorf(local.CodeIO, "the service was started and is %s", service.active).
			WithHint("see why: journalctl --user -u %s -n 20", serviceName)
	}
	r.PID = service.pid
	return a.checkService(ctx)
}

// checkService asks the service's daemon for its greeting. To systemd a daemon that
// cannot open the profile is active too; its greeting says what the user has to mend.
func (a *app) checkService(ctx context.Context) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	c, err := local.Dial(ctx, daemonTarget(cfg))
	if err != nil {
		return err
	}
	return c.Close()
}

// handOver stops a daemon of this profile that runs outside of the service,
// whose process is servicePID. It returns the pid of the daemon that was stopped, 0 if
// there was none, and whether the service's own daemon runs the present binary.
func (a *app) handOver(ctx context.Context, servicePID int) (stopped int, current bool, err error) {
	cfg, err := a.profile()
	if err != nil {
		return 0, false, err
	}
	holder := local.ReadHolder(cfg.Paths.Lock)
	if !holder.Held {
		return 0, false, nil
	}
	if servicePID == 0 || holder.PID != servicePID {
		return holder.PID, false, runDaemonStop(ctx, a, false)
	}
	c, _, err := findDaemon(ctx, cfg)
	if err != nil {
		return 0, false, ctx.Err() // it hangs, or its socket is gone: a restart mends that
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		return 0, false, ctx.Err()
	}
	return 0, !st.Replaced && st.Version == config.Version(), nil
}

// uninstallResult is what `daemon uninstall` prints with -o json.
type uninstallResult struct {
	Removed []string `json:"removed"` // paths
}

func runDaemonUninstall(ctx context.Context, a *app) error {
	dir, err := a.unitDir()
	if err != nil {
		return err
	}
	m, running := findUserManager()
	if running {
		if err := m.stopUnits(ctx); err != nil {
			return managerError(err).WithHint("nothing was removed, and the service may still run")
		}
	}
	removed, err := removeUnits(dir)
	if err != nil {
		return err
	}
	if running {
		if err := m.systemctl(ctx, "daemon-reload"); err != nil {
			return managerError(err)
		}
		_ = m.systemctl(ctx, "reset-failed", socketFile, serviceName) // fails if nothing failed before
	}
	if a.json() {
		return a.printJSON(uninstallResult{Removed: removed})
	}
	if len(removed) == 0 {
		a.notef("the service was not installed")
	}
	return nil
}

// stopUnits stops and disables the units, as far as there are any.
func (m userManager) stopUnits(ctx context.Context) error {
	for _, unit := range []string{socketFile, serviceName} {
		st, err := m.state(ctx, unit)
		if err != nil {
			return err
		}
		if st.load == "not-found" && st.active == "inactive" {
			continue
		}
		if err := m.systemctl(ctx, "stop", unit); err != nil {
			return err
		}
	}
	return nil
}

// looksInto refuses a directory of units that the manager does not read.
func (m userManager) looksInto(ctx context.Context, dir string) error {
	out, err := m.run(ctx, "systemctl", "show", "--property=UnitPath", "--value")
	if err != nil {
		return managerError(err)
	}
	if slices.Contains(strings.Fields(out), dir) {
		return nil
	}
	return usagef("systemd does not look for units in %s", dir).
		WithHint("XDG_CONFIG_HOME or HOME is not what it is for your manager: install without it, or set it for the manager as well")
}
