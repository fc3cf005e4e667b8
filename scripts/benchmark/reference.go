package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"secmsg/scripts/lab"
)

// reference is a running forwarder.
type reference struct {
	addr string
	cmd  *exec.Cmd
}

// startReference runs this program as a forwarder with the TLS key of the world's server, so that
// handshakes and ciphers are the same.
func startReference(ctx context.Context, w *lab.World) (*reference, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	dir := w.ServerDir()
	cmd := exec.CommandContext(ctx, self, forwarderCommand, "-cert", filepath.Join(dir, "tls.crt"), "-key", filepath.Join(dir, "tls.key"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reference: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return &reference{addr: strings.TrimSpace(line), cmd: cmd}, nil
}

func (r *reference) pid() int { return r.cmd.Process.Pid }

// stop ends the forwarder.
func (r *reference) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // Wait reports whether it is gone
	_ = r.cmd.Wait()
}

// newWorld creates a realm whose server's limits are raised out of the way.
func (b *bench) newWorld(ctx context.Context) (*lab.World, error) {
	return lab.New(ctx, lab.Options{Binary: b.opt.binary, ServerEnv: lab.RaisedLimits()})
}
