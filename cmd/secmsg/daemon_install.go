package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// The units of `daemon install`. @SECMSG@ is the path of this binary.
var (
	//go:embed units/secmsg.service
	serviceUnit string
	//go:embed units/secmsg.socket
	socketUnit string
)

const (
	serviceName = "secmsg.service"
	socketFile  = "secmsg.socket"
	// systemctlTimeout bounds one call of systemctl.
	systemctlTimeout = 30 * time.Second
)

func newDaemonInstallCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Install the daemon as a systemd user service with socket activation",
		Args:  argsBetween(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemonInstall(cmd.Context(), a) },
	}
}

func newDaemonUninstallCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the systemd user service and socket",
		Args:  argsBetween(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemonUninstall(cmd.Context(), a) },
	}
}

func runDaemonInstall(ctx context.Context, a *app) error {
	dir, err := a.unitDir()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the secmsg binary: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return local.Errorf(local.CodeIO, "%v", err)
	}
	for name, text := range map[string]string{
		serviceName: strings.ReplaceAll(serviceUnit, "@SECMSG@", unitQuote(exe)),
		socketFile:  socketUnit,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return local.Errorf(local.CodeIO, "%v", err)
		}
		if err := a.printf("%s", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		a.notef("systemd does not answer: %v", err)
		a.notef("when it does: systemctl --user daemon-reload && systemctl --user enable --now %s %s", socketFile, serviceName)
		return nil
	}
	if err := systemctl(ctx, "enable", "--now", socketFile, serviceName); err != nil {
		return local.Errorf(local.CodeIO, "%v", err)
	}
	a.notef("to let it run without a login: loginctl enable-linger")
	return nil
}

func runDaemonUninstall(ctx context.Context, a *app) error {
	dir, err := a.unitDir()
	if err != nil {
		return err
	}
	if err := systemctl(ctx, "disable", "--now", socketFile, serviceName); err != nil && a.verbose {
		a.notef("%v", err)
	}
	for _, name := range []string{serviceName, socketFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return local.Errorf(local.CodeIO, "%v", err)
		}
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil && a.verbose {
		a.notef("%v", err)
	}
	return nil
}

// unitDir is where a user's units are. The service is that of the default
// profile: another one would need names of its own.
func (a *app) unitDir() (string, error) {
	if a.home != "" {
		return "", usagef("the service is for the profile in the XDG directories; --home does not go with it")
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", usagef("%v", err)
	}
	return filepath.Join(dir, "systemd", "user"), nil
}

// unitQuote writes a path as systemd.service(5) reads the words of a command:
// quoted, with % and $ doubled.
func unitQuote(path string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`)
	return `"` + r.Replace(path) + `"`
}

func systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", append([]string{"--user"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl --user %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
