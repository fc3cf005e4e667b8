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
	// strayLine bounds a line of a library that is logged, in bytes.
	strayLine = 1024
	// strayLast bounds how long the last lines are waited for at the end.
	strayLast = time.Second
)

// catchStray makes lines that C libraries write to standard error by themselves,
// such as those of OpenH264, into records of the log. From then on a.stderr is a
// copy of standard error, which only the log writes to; follow starts the reading,
// and its result ends it. When the process crashes, the runtime writes its trace to
// both, and nobody reads the pipe any more. So a write to the pipe never waits: what
// finds no room there is lost, and the process can end.
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
	end := int(w.Fd()) // makes it wait
	err = errors.Join(unix.SetNonblock(end, true), unix.Dup3(end, stderr, 0))
	if _ = w.Close(); err != nil {
		return nil, fmt.Errorf("catch lines of libraries: %w", err)
	}
	a.stderr = kept
	return func(logger *slog.Logger) func() {
		var reading sync.WaitGroup
		reading.Go(func() { logStray(r, logger) })
		return func() {
			// This ends the pipe, and with it the reading, unless a library holds a
			// copy of its end.
			_ = unix.Dup3(fd, stderr, 0)
			runtime.KeepAlive(kept)
			_ = debug.SetCrashOutput(nil, debug.CrashOptions{}) // else a trace would be there twice
			_ = r.SetReadDeadline(time.Now().Add(strayLast))
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
