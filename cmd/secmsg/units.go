package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"secmsg/rpc/local"
)

// The units of `daemon install`. makeUnits replaces the names between @ signs.
var (
	//go:embed units/secmsg.service
	serviceUnit string
	//go:embed units/secmsg.socket
	socketUnit string
	// sandboxLines are settings that need unprivileged user namespaces. Where a kernel
	// or distribution disables these, the service would not start with the settings.
	//go:embed units/sandbox.conf
	sandboxLines string
)

const (
	serviceName = "secmsg.service"
	socketFile  = "secmsg.socket"
)

// unitFiles are the paths and texts of the two units.
type unitFiles struct {
	service, socket         string // paths
	serviceText, socketText string
}

// makeUnits returns the units for a binary. sandboxed adds the settings that need user
// namespaces.
func makeUnits(ctx context.Context, dir, exe string, sandboxed bool) unitFiles {
	documentation := ""
	if hasManPage(ctx) {
		documentation = "Documentation=man:secmsg(1)\n"
	}
	sandbox := "# Settings that need user namespaces were left out: these were not available during the installation.\n"
	if sandboxed {
		sandbox = sandboxLines
	}
	fill := strings.NewReplacer("@DOCUMENTATION@", documentation, "@SECMSG@", unitWord(exe),
		"@ENVIRONMENT@", unitEnvironment(), "@SANDBOX@", sandbox)
	return unitFiles{
		service: filepath.Join(dir, serviceName), serviceText: fill.Replace(serviceUnit),
		socket: filepath.Join(dir, socketFile), socketText: fill.Replace(socketUnit),
	}
}

// write writes the units and reports whether they changed.
func (u unitFiles) write() (changed bool, err error) {
	if err := os.MkdirAll(filepath.Dir(u.service), 0o755); err != nil {
		return false, local.Errorf(local.CodeIO, "%v", err)
	}
	for path, text := range map[string]string{u.service: u.serviceText, u.socket: u.socketText} {
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, []byte(text)) {
			continue
		}
		changed = true
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return changed, local.Errorf(local.CodeIO, "%v", err)
		}
	}
	return changed, nil
}

// removeUnits removes the units and the links in systemd's .wants directories, and
// returns the removed paths.
func removeUnits(dir string) ([]string, error) {
	removed := []string{}
	for _, name := range []string{
		serviceName, socketFile,
		filepath.Join("default.target.wants", serviceName), filepath.Join("sockets.target.wants", socketFile),
	} {
		path := filepath.Join(dir, name)
		switch err := os.Remove(path); {
		case err == nil:
			removed = append(removed, path)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, local.Errorf(local.CodeIO, "%v", err)
		}
	}
	for _, wants := range []string{"default.target.wants", "sockets.target.wants"} {
		_ = os.Remove(filepath.Join(dir, wants)) // fails if other units are in it
	}
	return removed, nil
}

// unitDir is the directory of the user's units. The service is for the default profile
// only, since the units of another one would need different names.
func (a *app) unitDir() (string, error) {
	if a.home != "" {
		return "", usagef("the service is only for the profile in the XDG directories; --home cannot be used here")
	}
	cfg, err := a.profile() // refuses a HOME that belongs to somebody else
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(cfg.Paths.Config), "systemd", "user"), nil
}

// unitWord quotes a word for a unit file (systemd.syntax(7)), with % doubled. A $ is
// left alone: systemd expands variables in a command's arguments, but not in its path.
func unitWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, "\n", `\n`).Replace(s) + `"`
}

// unitEnvironment passes this command's profile directories to the service. The
// variables may be set only in the shell. Without them the service would use another
// profile.
func unitEnvironment() string {
	var b strings.Builder
	for _, name := range profileVars() {
		if dir := os.Getenv(name); filepath.IsAbs(dir) {
			b.WriteString("Environment=" + unitWord(name+"="+dir) + "\n")
		}
	}
	return b.String()
}

// profileVars are the variables that say where the profile is.
func profileVars() []string { return []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"} }

// calledName is the path by which this program was called, if it leads to the running
// binary; otherwise it is the path of the binary. Some package managers (Homebrew, Nix,
// stow) keep a link and change its target, so a unit that names the link survives an
// upgrade.
func calledName(arg0 string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", local.Errorf(local.CodeIO, "cannot find the secmsg binary: %v", err)
	}
	called, err := exec.LookPath(arg0)
	if err != nil {
		return own, nil
	}
	if called, err = filepath.Abs(called); err != nil {
		return own, nil
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat(own)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return own, nil
	}
	return called, nil
}

// hasManPage reports whether man finds the page that the units refer to.
func hasManPage(ctx context.Context) bool {
	return exec.CommandContext(ctx, "man", "-w", "secmsg").Run() == nil
}

// probeSandbox returns an error if this manager cannot run the binary with the settings
// that need user namespaces.
func (m userManager) probeSandbox(ctx context.Context, exe string) error {
	args := []string{"--quiet", "--collect", "--service-type=oneshot"}
	for line := range strings.Lines(sandboxLines) {
		args = append(args, "--property="+strings.TrimSuffix(line, "\n"))
	}
	_, err := m.run(ctx, "systemd-run", append(args, exe, "version")...)
	return err
}
