package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"secmsg/rpc/local"
)

// Exit codes of POSIX shells for a command that could not be started or was killed.
const (
	exitNotExecutable = 126
	exitNoCommand     = 127
	exitSignal        = 128 // plus the number of the signal that ended it
)

// commandOutput reads the standard output of a command. Read returns io.EOF only
// after the command has succeeded. If it fails, Read returns an error, so that
// nothing is sent, whatever the command wrote. It is for one goroutine; Close may be
// called from another.
type commandOutput struct {
	a      *app
	out    *os.File
	cancel context.CancelFunc
	done   chan struct{} // closed when the command has ended

	status int // its exit status; valid once done is closed
}

// startCommand runs a command in the shell, with the standard input and standard
// error of this process.
func (a *app) startCommand(ctx context.Context, command string) (*commandOutput, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w, err := os.Pipe()
	if err != nil {
		cancel()
		return nil, local.IOError(err, "pipe: %v", err)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, w, a.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if !a.stdinTerminal() {
		// A process group of its own lets the shell's children be ended with it. At a
		// terminal the command stays in the foreground group: Ctrl-C reaches it there, and
		// it may read from the terminal.
		cmd.SysProcAttr = ownGroup()
		cmd.Cancel = func() error { return endGroup(cmd.Process) }
	}
	cmd.WaitDelay = handlerKill
	err = cmd.Start()
	_ = w.Close() // the command has its own copy
	if err != nil {
		cancel()
		_ = r.Close() // nothing was read
		status := exitNotExecutable
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			status = exitNoCommand
		}
		a.printError(local.Errorf(local.CodeIO, "cannot start the command: %v", err))
		return nil, exitStatus(status)
	}
	c := &commandOutput{a: a, out: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.status = statusOf(cmd.Wait())
		if c.status != 0 {
			// Processes that it started may still hold the pipe. Nothing will be sent, so
			// they are ended.
			_ = r.Close()
			if cmd.SysProcAttr != nil {
				_ = endGroup(cmd.Process) // fails if none is left
			}
		}
	}()
	return c, nil
}

// statusOf is the exit status that a shell would report for a command.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return exitSignal + int(s.Signal())
		}
		if code := exit.ExitCode(); code > 0 {
			return code
		}
	}
	return exitNotExecutable // the status could not be collected
}

// Read implements io.Reader. At the end of the output it waits for the command.
func (c *commandOutput) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
		<-c.done
		if c.status != 0 {
			return 0, c.failed()
		}
		return 0, io.EOF
	}
	return 0, err
}

// failed is the error of a command that failed: this process exits with its status.
func (c *commandOutput) failed() error { return exitStatus(c.status) }

// Close ends the command if it still runs, and waits for its end.
func (c *commandOutput) Close() error {
	c.cancel()
	err := c.out.Close()
	<-c.done
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return err
}

// checkPeers fails if the daemon would refuse to send to a peer. It runs before the
// command whose output is sent, which may take hours. Without the server, only peers
// that were written to before can be checked.
func (a *app) checkPeers(ctx context.Context, c *local.Client, send local.FileSendParams) error {
	for _, peer := range send.Peers {
		p := local.PeerParams{AccountParam: a.accountParam(), Peer: peer}
		known, err := c.Contact(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isCode(err, local.CodeNotFound):
			// Verify also fails for the own account, which is a valid recipient. Only an
			// unknown peer is an error.
			if _, err := c.Verify(ctx, local.VerifyParams{PeerParams: p}); isCode(err, local.CodeNotFound) {
				return err
			}
		case isCode(err, local.CodeUsage):
			return err
		case err == nil && known.Trust == local.TrustBlocked:
			return usagef("you blocked %s", known.Peer).WithHint("secmsg unblock %s", known.Peer)
		case err == nil && send.Require == local.TrustVerified && known.Trust != local.TrustVerified:
			return local.Errorf(local.CodeUntrusted, "%s is not verified; nothing was sent", known.Peer).WithHint("secmsg verify %s", known.Peer)
		}
	}
	return nil
}

// sendOutput sends the output of a command as a file. If the command fails, nothing
// is sent and the error is its exit status.
func (a *app) sendOutput(ctx context.Context, c *local.Client, p local.FileSendParams, o fileSendOptions) error {
	if err := a.checkPeers(ctx, c, p); err != nil {
		return err
	}
	out, err := a.startCommand(ctx, o.exec)
	if err != nil {
		return err
	}
	src := fileSources{sources: []local.FileSource{{Stream: true, Name: o.name}}, stream: out, close: func() { _ = out.Close() }}
	p.Sources = src.sources
	err = a.sendFiles(ctx, c, p, src, o.progress)
	src.close()
	if status, ok := errors.AsType[exitStatus](err); ok && int(status) == out.status {
		a.printError(local.Errorf(local.CodeIO, "the command ended with exit status %d; nothing was sent", out.status))
	}
	return err
}
