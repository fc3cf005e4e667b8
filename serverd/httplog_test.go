package serverd

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"
)

// E18: neither client addresses nor the values of panics are logged.
func TestHTTPLog(t *testing.T) {
	var b bytes.Buffer
	l := log.New(httpLog{slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))}, "", 0)
	l.Print("http: TLS handshake error from 192.0.2.1:4711: EOF")
	l.Print("http: panic serving 192.0.2.1:4711: canary\ngoroutine 7 [running]:\nmain.f()")
	l.Print("http: Accept error: too many open files; retrying in 5ms")
	out := b.String()
	if strings.Contains(out, "192.0.2.1") || strings.Contains(out, "canary") {
		t.Error(out)
	}
	if !strings.Contains(out, "goroutine 7") || !strings.Contains(out, "too many open files") {
		t.Error(out)
	}
}
