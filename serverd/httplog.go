package serverd

import (
	"log/slog"
	"strings"
)

// httpLog receives the log lines of http.Server. It keeps client addresses out of the log, and the
// value of a panic, which may contain client data. Failed handshakes of strangers are not worth a line.
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
		l.logger.Error("cannot accept connections at the moment", "error", text)
	default:
		l.logger.Debug("http server", "text", strings.TrimPrefix(text, "http: "))
	}
	return len(p), nil
}
