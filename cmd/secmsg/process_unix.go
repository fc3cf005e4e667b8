//go:build unix

package main

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// ownSession detaches a child from the caller's terminal and job control.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// ownGroup puts a child and its descendants into a new process group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// endGroup sends SIGTERM to a child's process group.
func endGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

// process is a daemon that this command started.
type process struct {
	pid    int
	status syscall.WaitStatus
	gone   bool
}

// ended reports, without waiting, whether the process has exited.
func (p *process) ended() bool {
	if !p.gone {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		p.gone = pid == p.pid || err == syscall.ECHILD
	}
	return p.gone
}

// failed reports whether the process exited with an error.
func (p *process) failed() bool { return p.gone && (!p.status.Exited() || p.status.ExitStatus() != 0) }

// end sends SIGTERM to the process.
func (p *process) end() { _ = syscall.Kill(p.pid, syscall.SIGTERM) }

// kill sends SIGKILL to the process.
func (p *process) kill() { _ = syscall.Kill(p.pid, syscall.SIGKILL) }

// alive reports whether a process with this id exists.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || err == syscall.EPERM
}

// keepDescriptors marks every descriptor except the standard ones as close-on-exec.
// A descriptor of the caller's shell (exec 9>lock; flock 9) would otherwise stay open,
// and locked, as long as the daemon runs.
func keepDescriptors() {
	dir, err := os.ReadDir("/dev/fd")
	if err != nil {
		const usual = 1024 // more than a shell has open
		for fd := 3; fd < usual; fd++ {
			syscall.CloseOnExec(fd)
		}
		return
	}
	for _, e := range dir {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// privateUmask makes every new file of this process inaccessible to other users.
func privateUmask() { syscall.Umask(0o077) }

// terminate sends SIGTERM to a process, and SIGCONT so that a suspended one handles it.
func terminate(p *os.Process) error {
	err := p.Signal(syscall.SIGTERM)
	if err == nil {
		err = p.Signal(syscall.SIGCONT)
	}
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
