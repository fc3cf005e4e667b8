package serverd

import (
	"log/slog"
	"strings"
)

// httpLog takes the lines that a http.Server writes about itself. Client
// addresses do not get into the log, nor does the value of a panic, which may
// hold what a client sent; broken handshakes of strangers are no news at all.
type httpLog struct{ logger *slog.Logger }

// Write logs one line of net/http.
func (l httpLog) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	switch {
	case strings.HasPrefix(text, "http: TLS handshake error"):
	case strings.HasPrefix(text, "http: panic serving"):
		_, stack, _ := strings.Cut(text, "\n")
		l.logger.Error("panic in a handler", "stack", stack)
	case strings.HasPrefix(text, "http: Accept error"):
		l.logger.Error("connections cannot be accepted for now", "error", text)
	default:
		l.logger.Debug("http server", "text", strings.TrimPrefix(text, "http: "))
	}
	return len(p), nil
}
