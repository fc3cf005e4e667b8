package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// strayLine bounds a line of a library that is logged, in bytes.
const strayLine = 1024

// catchStray makes lines that C libraries write to standard error by themselves,
// such as those of OpenH264, into records of the log. From then on a.stderr is a
// copy of standard error, which only the log writes to; follow starts the reading,
// and its result ends it. What the runtime writes when the process dies goes to
// the copy as well, since nobody reads the other end then.
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
	if err := debug.SetCrashOutput(kept, debug.CrashOptions{}); err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	err = unix.Dup3(int(w.Fd()), stderr, 0)
	if _ = w.Close(); err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	a.stderr = kept
	return func(logger *slog.Logger) func() {
		var reading sync.WaitGroup
		reading.Go(func() { logStray(r, logger) })
		return func() {
			_ = unix.Dup3(fd, stderr, 0) // ends the pipe, and with it the reading
			reading.Wait()
			_ = r.Close()
		}
	}, nil
}

// logStray logs each line of r; what is too long is cut.
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
