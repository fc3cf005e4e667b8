//go:build unix

package main

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
)

// stacksFile holds the goroutine stacks of a process that its watchdog ended.
const stacksFile = "stuck.txt"

// onAbort handles SIGABRT, which systemd's watchdog sends to a process that no
// longer responds. By default the Go runtime would dump every goroutine into the
// log, hundreds of lines. onAbort writes the stacks to a file in dir and one line
// to the log. It then kills the process, since a clean stop would wait for the
// goroutine that is stuck.
func onAbort(logger *slog.Logger, flush func(), dir string) (stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGABRT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, ok := <-c; !ok {
			return
		}
		path := filepath.Join(dir, stacksFile)
		if err := writeStacks(path); err != nil {
			logger.Error("killed by SIGABRT (from a watchdog?); the goroutine stacks could not be written", "error", err)
		} else {
			logger.Error("killed by SIGABRT (from a watchdog?); goroutine stacks are in the file", "file", path)
		}
		flush()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}()
	return func() {
		signal.Stop(c)
		close(c)
		<-done
	}
}

// writeStacks writes the stacks of all goroutines. They hold function names, line
// numbers and addresses, but no data of the user.
func writeStacks(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	const everyGoroutine = 2 // in the format of an unrecovered panic
	if err := pprof.Lookup("goroutine").WriteTo(f, everyGoroutine); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
