//go:build !unix

package main

import (
	"os"
	"syscall"
)

// ownSession has nothing to detach from here.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// ownGroup: there are no process groups here.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// endGroup ends a child.
func endGroup(p *os.Process) error { return p.Kill() }

// process is a daemon that this command started.
type process struct {
	pid  int
	gone bool
}

// ended cannot be asked without waiting here; the timeout of the start decides.
func (p *process) ended() bool  { return p.gone }
func (p *process) failed() bool { return false }

// end ends the process.
func (p *process) end() {
	if h, err := os.FindProcess(p.pid); err == nil {
		_ = h.Kill()
	}
	p.gone = true
}

// kill ends the process at once.
func (p *process) kill() { p.end() }

// alive reports whether a process with this id exists.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}

func privateUmask() {}

// keepDescriptors: handles are inherited only when asked for here.
func keepDescriptors() {}

// terminate ends a process: there is no request to end here.
func terminate(p *os.Process) error { return p.Kill() }
