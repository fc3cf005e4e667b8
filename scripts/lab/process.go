package lab

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// Process is a child process that outlives the call that started it.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process was waited for
	err  error         // written before done is closed
}

// start starts cmd, and a goroutine that waits for it.
func (w *World) start(cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %q: %w", cmd.Args[1:], err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	w.mu.Lock()
	w.procs[p] = true
	w.mu.Unlock()
	go func() {
		p.err = cmd.Wait()
		w.mu.Lock()
		delete(w.procs, p)
		w.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process at once, as a crash would, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Stop asks the process to end, and waits. It returns an error if the process did not end cleanly; a
// process that does not react is killed.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-p.done:
		return p.err
	case <-t.C:
		p.Kill()
		return fmt.Errorf("%q did not end within %s of SIGTERM", p.cmd.Args[1:], stopTimeout)
	}
}

// Freeze stops the process with SIGSTOP; Thaw continues it.
func (p *Process) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw continues a frozen process.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
