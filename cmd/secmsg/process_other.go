//go:build !unix

package main

import (
	"os"
	"syscall"
)

// ownSession has nothing to detach from here.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// process is a daemon that this command started.
type process struct {
	pid int
}

// ended cannot be asked without waiting here; the timeout of the start decides.
func (p *process) ended() bool  { return false }
func (p *process) failed() bool { return false }

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
