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

// listen takes the socket of the service manager, or makes one, and announces it.
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

// places lists where the daemon may listen: nowhere once its profile was moved or
// removed. A socket would make a new directory of the profile's name then, and
// moving the profile back would put it inside of that one.
func (d *Daemon) places() []string {
	if d.lock.Lost() {
		return nil
	}
	return d.cfg.Paths.Places()
}

// lockPoll is how often the daemon checks that its lock can still be found. It
// polls: a profile may be on a file system that reports no changes.
const lockPoll = time.Second

// watchLock ends the daemon once nobody can find it by its profile any more.
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

// program is the path by which this process was started. A service manager and
// a command that starts a daemon give the whole path.
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

// execPIDVar and notifyVar are set by systemd for what it starts (systemd.exec(5)).
// What that starts in turn inherits them, but is not the process of the first;
// older systemds set only the second. A daemon that a command starts gets neither.
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

// unit names the service of systemd that this process is the main process of,
// and whose manager runs it.
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

// unitOf finds the service in the text of /proc/PID/cgroup (cgroups(7)): the last
// part of the path in the hierarchy of systemd.
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
