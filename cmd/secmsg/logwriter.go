package main

import (
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// logQueue is how many lines wait while nobody reads the log; then lines are
	// dropped and counted, since service goes on without its log.
	logQueue = 1024
	// logFlush bounds the wait for the last lines at the end of the process.
	logFlush = time.Second
)

// logWriter lets no reader of the log stop the process: a pipe that is full or
// a terminal that is held up makes its lines wait, and then be dropped.
type logWriter struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Int64
	quit    chan struct{}
	done    chan struct{} // closed when the writing goroutine has ended
	warn    *slog.Logger  // writes to out; for the writing goroutine only
}

// newLogWriter starts writing lines to out; warn, which writes to out itself,
// tells how many were dropped.
func newLogWriter(out io.Writer, warn *slog.Logger) *logWriter {
	w := &logWriter{out: out, warn: warn, lines: make(chan []byte, logQueue), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line and never waits.
func (w *logWriter) Write(p []byte) (int, error) {
	line := append([]byte(nil), p...) // the caller uses p again
	select {
	case w.lines <- line:
	default:
		w.dropped.Add(1)
	}
	return len(p), nil
}

func (w *logWriter) run() {
	defer close(w.done)
	for {
		select {
		case line := <-w.lines:
			w.put(line)
			continue
		case <-w.quit:
		}
		for { // what was said before the end
			select {
			case line := <-w.lines:
				w.put(line)
			default:
				return
			}
		}
	}
}

// put writes a line, and tells of those that were dropped meanwhile.
func (w *logWriter) put(line []byte) {
	_, _ = w.out.Write(line) // a log that cannot be written has nowhere to say so
	if n := w.dropped.Swap(0); n > 0 {
		w.warn.Warn("the log was not read in time, lines are missing", "lines", n)
	}
}

// close writes what is left and ends. A reader that still does not read is left
// behind with the process.
func (w *logWriter) close() {
	close(w.quit)
	t := time.NewTimer(logFlush)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	}
}
