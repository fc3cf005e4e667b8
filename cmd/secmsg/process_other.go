//go:build !unix

package main

import (
	"os"
	"syscall"
)

// ownSession does nothing: this platform has no sessions.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// ownGroup does nothing: this platform has no process groups.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// endGroup kills a child.
func endGroup(p *os.Process) error { return p.Kill() }

// process is a daemon that this command started.
type process struct {
	pid  int
	gone bool
}

// ended reports only a process that end has killed: this platform cannot be asked
// without waiting. The timeout of the start applies instead.
func (p *process) ended() bool  { return p.gone }
func (p *process) failed() bool { return false }

// end kills the process: this platform has no request to exit.
func (p *process) end() {
	if h, err := os.FindProcess(p.pid); err == nil {
		_ = h.Kill()
	}
	p.gone = true
}

// kill kills the process.
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

// keepDescriptors does nothing: this platform passes no handles on unless asked to.
func keepDescriptors() {}

// terminate kills a process: this platform has no request to exit.
func terminate(p *os.Process) error { return p.Kill() }
