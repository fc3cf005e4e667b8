package main

import (
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// logQueue is how many lines are buffered while nobody reads the log. Further
	// lines are dropped and counted, so that a blocked log never stops the service.
	logQueue = 1024
	// logFlush bounds the wait for the last lines when the process ends.
	logFlush = time.Second
)

// logWriter decouples the process from the reader of its log. While a pipe is full or
// a terminal is stopped, lines are buffered and then dropped.
type logWriter struct {
	out     io.Writer
	lines   chan []byte
	dropped atomic.Int64
	quit    chan struct{}
	done    chan struct{} // closed when the writing goroutine has ended
	warn    *slog.Logger  // writes to out; for the writing goroutine only
}

// newLogWriter starts writing lines to out. It reports the number of dropped lines
// through warn, which writes to out directly.
func newLogWriter(out io.Writer, warn *slog.Logger) *logWriter {
	w := &logWriter{out: out, warn: warn, lines: make(chan []byte, logQueue), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes one line and never waits.
func (w *logWriter) Write(p []byte) (int, error) {
	line := append([]byte(nil), p...) // the caller reuses p
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
		for { // lines that were queued before close
			select {
			case line := <-w.lines:
				w.put(line)
			default:
				return
			}
		}
	}
}

// put writes a line, and warns if lines were dropped since the last one.
func (w *logWriter) put(line []byte) {
	_, _ = w.out.Write(line) // a log that cannot be written has nowhere to say so
	if n := w.dropped.Swap(0); n > 0 {
		w.warn.Warn("the log was not read in time; lines are missing", "lines", n)
	}
}

// close writes the remaining lines and stops. It gives up after logFlush if the log is
// still not read.
func (w *logWriter) close() {
	close(w.quit)
	t := time.NewTimer(logFlush)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	}
}
