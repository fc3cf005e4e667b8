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

// ownGroup puts a child and what it starts into a process group of their own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// endGroup asks a child's process group to end.
func endGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

// process is a daemon that this command started.
type process struct {
	pid    int
	status syscall.WaitStatus
	gone   bool
}

// ended reports, without waiting, whether the process is over.
func (p *process) ended() bool {
	if !p.gone {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		p.gone = pid == p.pid || err == syscall.ECHILD
	}
	return p.gone
}

// failed reports whether it ended with an error.
func (p *process) failed() bool { return p.gone && (!p.status.Exited() || p.status.ExitStatus() != 0) }

// end asks the process to end.
func (p *process) end() { _ = syscall.Kill(p.pid, syscall.SIGTERM) }

// kill ends the process at once.
func (p *process) kill() { _ = syscall.Kill(p.pid, syscall.SIGKILL) }

// alive reports whether a process with this id exists and is signalable.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || err == syscall.EPERM
}

// keepDescriptors makes every descriptor but the standard ones close in a
// child. A shell's own (exec 9>lock; flock 9) would stay open, and locked, in
// the daemon for as long as it runs.
func keepDescriptors() {
	dir, err := os.ReadDir("/dev/fd")
	if err != nil {
		const usual = 1024 // descriptors that a shell may have made
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

// privateUmask lets nothing that this process makes be open to others.
func privateUmask() { syscall.Umask(0o077) }

// terminate asks a process to end. One that is stopped is let go on, so that it
// sees the request.
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
