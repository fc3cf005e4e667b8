package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// serverLogger returns a logger to standard error, in text, or in JSON with -o json.
// Logging never waits for the reader of the log; flush writes the remaining lines at
// the end. Lines for systemd's journal carry a priority but no time, which the journal
// adds.
func (a *app) serverLogger(name string) (logger *slog.Logger, flush func(), err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, nil, fmt.Errorf("log level: %w", err)
	}
	if a.verbose {
		level = slog.LevelDebug
	}
	opt := &slog.HandlerOptions{Level: level}
	journal := isJournal(a.stderr)
	if journal {
		opt.ReplaceAttr = withoutTime
	}
	format := logFormat(a.json(), opt)
	to := func(w io.Writer) *slog.Logger {
		if journal {
			return slog.New(newJournalHandler(w, format))
		}
		return slog.New(format(w))
	}
	w := newLogWriter(a.stderr, to(a.stderr))
	return to(w), w.close, nil
}

// logFormat returns a constructor of JSON or text handlers. Both escape characters
// that a terminal acts on.
func logFormat(asJSON bool, opt *slog.HandlerOptions) func(io.Writer) slog.Handler {
	return func(w io.Writer) slog.Handler {
		if asJSON {
			return slog.NewJSONHandler(escapingWriter{w}, opt)
		}
		return slog.NewTextHandler(w, opt)
	}
}

// withoutTime drops the time of a record, but not attributes named time in groups.
func withoutTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}

// Syslog priorities, as line prefixes of sd-daemon(3).
const (
	priorityError   = "<3>"
	priorityWarning = "<4>"
	priorityInfo    = "<6>"
	priorityDebug   = "<7>"
)

// journalHandler writes each record after the priority prefix of its level. It holds
// one handler for each priority, all with the same attributes and groups, since a
// writer could not tell the level of a formatted line.
type journalHandler struct{ debug, info, warning, err slog.Handler }

// newJournalHandler returns a journalHandler whose handlers have the given format.
func newJournalHandler(w io.Writer, format func(io.Writer) slog.Handler) *journalHandler {
	of := func(priority string) slog.Handler { return format(prefixWriter{w, priority}) }
	return &journalHandler{of(priorityDebug), of(priorityInfo), of(priorityWarning), of(priorityError)}
}

func (h *journalHandler) of(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return h.err
	case level >= slog.LevelWarn:
		return h.warning
	case level >= slog.LevelInfo:
		return h.info
	}
	return h.debug
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(one slog.Handler) slog.Handler { return one.WithGroup(name) })
}

func (h *journalHandler) each(f func(slog.Handler) slog.Handler) slog.Handler {
	return &journalHandler{f(h.debug), f(h.info), f(h.warning), f(h.err)}
}

// prefixWriter puts a prefix before every write. A handler writes one line at a time.
type prefixWriter struct {
	out    io.Writer
	prefix string
}

// Write writes the prefix and the line in a single write.
func (w prefixWriter) Write(line []byte) (int, error) {
	if _, err := w.out.Write(append([]byte(w.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// prefixLines puts a prefix before each line of a text.
func prefixLines(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(prefix + line)
	}
	return b.String()
}
