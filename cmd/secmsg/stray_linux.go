package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// strayLine bounds a logged line in bytes.
	strayLine = 1024
	// strayLast bounds the wait for the last lines at the end.
	strayLast = time.Second
)

// catchStray turns lines that C libraries such as OpenH264 write to standard error into
// records of the log. Standard error becomes a pipe, and a.stderr a copy of the
// original, which only the log writes to. follow starts reading the pipe, and its
// result stops it. If the process crashes, the runtime writes its trace to both, but
// nobody reads the pipe. So writes to the pipe do not block: text that does not fit is
// lost, and the process can exit.
func (a *app) catchStray() (follow func(*slog.Logger) (stop func()), err error) {
	const stderr = 2
	fd, err := unix.FcntlInt(stderr, unix.F_DUPFD_CLOEXEC, stderr+1)
	if err != nil {
		return nil, fmt.Errorf("copy standard error: %w", err)
	}
	kept := os.NewFile(uintptr(fd), "stderr")
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	// The runtime writes the trace of a crash to this file as well.
	if err := debug.SetCrashOutput(kept, debug.CrashOptions{}); err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	end := int(w.Fd()) // Fd makes the pipe blocking again
	err = errors.Join(unix.SetNonblock(end, true), unix.Dup3(end, stderr, 0))
	if _ = w.Close(); err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	a.stderr = kept
	return func(logger *slog.Logger) func() {
		var reading sync.WaitGroup
		reading.Go(func() { logStray(r, logger) })
		return func() {
			// This closes the last writing end of the pipe, which ends the reading, unless a
			// library holds a copy.
			_ = unix.Dup3(fd, stderr, 0)
			runtime.KeepAlive(kept)
			_ = debug.SetCrashOutput(nil, debug.CrashOptions{}) // else a trace would be written twice
			_ = r.SetReadDeadline(time.Now().Add(strayLast))
			reading.Wait()
			_ = r.Close()
		}
	}, nil
}

// logStray logs each line of r. Long lines are cut.
func logStray(r io.Reader, logger *slog.Logger) {
	lines := bufio.NewReaderSize(r, strayLine)
	for {
		line, more, err := lines.ReadLine()
		if text := strings.TrimSpace(string(line)); text != "" {
			logger.Warn("a library wrote to standard error", "text", text)
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		if err != nil {
			return
		}
	}
}
