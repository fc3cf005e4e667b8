package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/daemon/localapi"
	"secmsg/rpc/local"
)

// listen uses the socket of the service manager, or creates one, and announces it.
func (d *Daemon) listen(given *socket) (*localapi.Door, error) {
	var ln net.Listener
	if given != nil {
		ln, given.used, d.activated = given.ln, true, true
	}
	door, err := localapi.NewDoor(ln, d.places, d.cfg.Paths.Announce, d.logger)
	if err != nil {
		return nil, local.Errorf(local.CodeUsage, "%v", err)
	}
	return door, nil
}

// places lists the paths where the daemon may listen: none once its profile was
// moved or removed. Otherwise a new socket would recreate the profile's directory,
// and moving the profile back would put it inside that directory.
func (d *Daemon) places() []string {
	if d.lock.Lost() {
		return nil
	}
	return d.cfg.Paths.Places()
}

// lockPoll is the interval at which the daemon checks that its lock file is still in
// its place. It polls, because a file system may report no changes.
const lockPoll = time.Second

// watchLock ends the daemon when clients can no longer find it through its lock.
func (d *Daemon) watchLock(ctx context.Context) {
	t := time.NewTicker(lockPoll)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if d.lock.Lost() {
			d.fail(local.Errorf(local.CodeIO, "%s was removed or replaced; the daemon stops, since another one could be running on the same profile", d.cfg.Paths.Lock))
			return
		}
	}
}

// tellClients writes the daemon's state into its lock.
func (d *Daemon) tellClients(state string) {
	if err := d.lock.SetState(state); err != nil {
		d.logger.Warn("cannot write the state of the daemon to its lock file", "state", state, "error", err)
	}
}

// hello introduces this process to a client.
func (d *Daemon) hello() local.Hello {
	h := local.Hello{
		PID: os.Getpid(), Version: config.Version(), Profile: d.cfg.Paths.Data, Program: program(), Activated: d.activated,
	}
	h.Unit, h.Manager = unit()
	return h
}

// program returns the path with which this process was started. Service managers
// and commands start the daemon with an absolute path.
func program() string {
	if filepath.IsAbs(os.Args[0]) {
		return os.Args[0]
	}
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	return exe
}

// execPIDVar and notifyVar are set by systemd for its processes (systemd.exec(5)). A
// child of such a process inherits them, but its pid differs from execPIDVar. Old
// versions of systemd set only notifyVar. A command starts the daemon without both.
const (
	execPIDVar = "SYSTEMD_EXEC_PID"
	notifyVar  = "NOTIFY_SOCKET"
)

// managed reports whether systemd itself started this process.
func managed() bool {
	switch os.Getenv(execPIDVar) {
	case strconv.Itoa(os.Getpid()):
		return true
	case "":
		return os.Getenv(notifyVar) != ""
	}
	return false
}

// unit returns the systemd service of which this is the main process, and whether
// the user's or the system's manager runs it.
func unit() (name, manager string) {
	if !managed() {
		return "", ""
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", ""
	}
	return unitOf(string(b))
}

// unitOf finds the service in /proc/PID/cgroup (cgroups(7)): the last part of the
// path in systemd's hierarchy.
func unitOf(cgroup string) (name, manager string) {
	for line := range strings.Lines(cgroup) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] != "" && fields[1] != "name=systemd" {
			continue
		}
		base := filepath.Base(fields[2])
		if !strings.HasSuffix(base, ".service") {
			continue
		}
		if strings.HasPrefix(base, "user@") {
			continue // the manager itself
		}
		if strings.Contains(fields[2], "/user@") {
			return base, local.ManagerUser
		}
		return base, local.ManagerSystem
	}
	return "", ""
}

// staysUnlocked reports whether the profile would be unlocked after a restart of
// the daemon as it is now.
func (d *Daemon) staysUnlocked() bool {
	if !d.keys.Protected() || d.keys.Locked() {
		return true
	}
	passphrase, err := startPassphrase(d.cfg.PassphraseFile)
	clear(passphrase)
	return err == nil && passphrase != nil
}
