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
		Long: "Write the user units secmsg.service and secmsg.socket, enable them and start\n" +
			"them. A running daemon is stopped, and the service takes over. Run the command\n" +
			"again after an upgrade to restart the service with the new binary.\n\n" +
			"The service runs the path by which you called this command. If that is a link,\n" +
			"the link may point to a newer binary later. Exit 3 if systemd did not start the\n" +
			"service.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonInstall(cmd.Context(), a) },
	}
}

func newDaemonUninstallCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stop and remove the systemd user service and socket",
		Long: "Stop the service and the socket, and remove their units. Drop-ins that you wrote\n" +
			"are kept. If your systemd user manager is running but does not respond, nothing\n" +
			"is removed and the exit code is 3.",
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
	PID     int    `json:"pid"`     // of the service; 0 if it is not running
	Sandbox bool   `json:"sandbox"` // the unit has the lines that need user namespaces
	Linger  bool   `json:"linger"`  // the service runs without a login
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
				a.notef("the service runs without a user namespace: %v", err)
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
		err = managerError(noManager).WithHint("the units are written; once systemd responds, run: "+
			"systemctl --user daemon-reload && systemctl --user enable --now %s %s", socketFile, serviceName)
	}
	if printErr := a.printInstall(r); printErr != nil && err == nil {
		err = printErr
	}
	if err == nil && !r.Linger {
		a.notef("the service runs only while you are logged in; to run it without a login: loginctl enable-linger")
	}
	return err
}

func (a *app) printInstall(r installResult) error {
	if a.json() {
		return a.printJSON(r)
	}
	return a.printf("%s\n%s", r.Service, r.Socket)
}

// reachManager finds the user's manager and checks that it responds.
func (a *app) reachManager(ctx context.Context) (userManager, error) {
	m, ok := findUserManager()
	if !ok {
		return m, errNoManager
	}
	return m, m.answers(ctx)
}

// enableUnits makes the manager load, enable and run the units on disk.
func (a *app) enableUnits(ctx context.Context, m userManager, changed bool, r *installResult) error {
	if err := m.systemctl(ctx, "daemon-reload"); err != nil {
		return managerError(err)
	}
	// From here on, commands that find no daemon ask the manager for it. So none of
	// them starts another daemon while the old one stops.
	service, err := m.state(ctx, serviceName)
	if err != nil {
		return managerError(err)
	}
	stopped, current, err := a.handOver(ctx, service.pid)
	if err != nil {
		return err
	}
	if stopped != 0 {
		a.notef("stopped the daemon (pid %d) that was running outside the service", stopped)
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
		return managerError(err).WithHint("for the reason, see: journalctl --user -u %s -n 20", serviceName)
	}
	if service, err = m.state(ctx, serviceName); err != nil {
		return managerError(err)
	}
	if service.active != "active" {
		return local.Errorf(local.CodeIO, "the service was started, but its state is %q", service.active).
			WithHint("for the reason, see: journalctl --user -u %s -n 20", serviceName)
	}
	r.PID = service.pid
	return a.checkService(ctx)
}

// checkService connects to the service's daemon. A daemon that cannot open the
// profile is active as far as systemd knows, but it refuses connections with an
// error that tells the user what to fix.
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

// handOver stops a daemon of this profile that runs outside the service, whose
// process is servicePID. It returns the pid of the stopped daemon, or 0 if there was
// none, and whether the service's own daemon runs the current binary.
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
		return 0, false, ctx.Err() // it hangs, or its socket is gone: a restart fixes that
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
			return managerError(err).WithHint("nothing was removed; the service may still be running")
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

// stopUnits stops the units that exist.
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

// looksInto refuses a unit directory that the manager does not read.
func (m userManager) looksInto(ctx context.Context, dir string) error {
	out, err := m.run(ctx, "systemctl", "show", "--property=UnitPath", "--value")
	if err != nil {
		return managerError(err)
	}
	if slices.Contains(strings.Fields(out), dir) {
		return nil
	}
	return usagef("systemd does not look for units in %s", dir).
		WithHint("XDG_CONFIG_HOME or HOME differs from the value in your systemd user manager: unset it, or set it for the manager too")
}
