package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ServerLog is the file with the output of all servers of this world.
func (w *World) ServerLog() string { return filepath.Join(w.dir, "server.log") }

// StartServer runs the server and waits until it answers on its admin socket.
func (w *World) StartServer(ctx context.Context) error {
	log, err := os.OpenFile(w.ServerLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, privateFile)
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(w.bin, "serverd", "run", "--data", w.ServerDir(), "--listen", w.listen)
	cmd.Env = w.env(w.serverEnv)
	cmd.Stdout, cmd.Stderr = log, log
	if w.server, err = w.start(cmd); err != nil {
		return err
	}
	server := w.server
	err = Poll(ctx, "the server answers", func() bool {
		select {
		case <-server.Done():
			return true
		default:
		}
		r, err := w.Exec(ctx, "", "admin", "user", "list", "--data", w.ServerDir())
		return err == nil && r.Code == 0
	})
	select {
	case <-server.Done():
		w.server = nil
		return errors.Join(err, fmt.Errorf("server ended at once: %w\n%s", server.err, Tail(w.ServerLog(), 2000)))
	default:
		return err
	}
}

// Server is the running server, nil if there is none.
func (w *World) Server() *Process { return w.server }

// KillServer kills the server.
func (w *World) KillServer() {
	w.server.Kill()
	w.server = nil
}

// StopServer stops the server cleanly.
func (w *World) StopServer() error {
	err := w.server.Stop()
	w.server = nil
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// Tail returns the last n bytes of a file, or the error.
func Tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// Logs returns the ends of all logs, for a failure report.
func (w *World) Logs(each int) string {
	out := "server.log:\n" + Tail(w.ServerLog(), each)
	files, _ := filepath.Glob(filepath.Join(w.dir, "home-*", "*.log")) // the pattern is a constant
	for _, f := range files {
		out += fmt.Sprintf("\n%s:\n%s", f, Tail(f, each))
	}
	return out
}
