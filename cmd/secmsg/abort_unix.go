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

// stacksFile holds where all goroutines of a process were that its watchdog ended.
const stacksFile = "stuck.txt"

// onAbort handles SIGABRT, with which systemd's watchdog ends a process that no
// longer answers. Go's runtime would write every goroutine into the log, hundreds of
// lines; they go into a file in dir instead, and the log gets one line. The
// process then ends by SIGKILL, since a clean stop would wait for the part
// that is stuck.
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
			logger.Error("ended by SIGABRT, as of a watchdog; where it was stuck could not be written", "error", err)
		} else {
			logger.Error("ended by SIGABRT, as of a watchdog; the file says where each goroutine was", "file", path)
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

// writeStacks writes the stacks of all goroutines: names of functions, line
// numbers and addresses, no contents.
func writeStacks(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	const everyGoroutine = 2 // in the form of an unrecovered panic
	if err := pprof.Lookup("goroutine").WriteTo(f, everyGoroutine); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
