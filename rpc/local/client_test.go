package local

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// greeting is the introduction of a daemon.
const greeting = `{"jsonrpc":"2.0","id":0,"result":{"pid":5,"version":"test","profile":"/elsewhere"}}` + "\n"

// at is a target with sockets only.
func at(paths ...string) Target { return Target{Sockets: paths} }

// serveOnce listens on a new socket until the test ends and lets serve handle one
// connection, which is closed afterwards. It returns the socket's path.
func serveOnce(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return path
}

// serveLines answers one connection on a socket with the greeting and fixed lines.
func serveLines(t *testing.T, lines ...string) string {
	t.Helper()
	return serveOnce(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		for _, line := range append([]string{greeting}, lines...) {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write([]byte(line)); err != nil {
				return
			}
		}
	})
}

func TestDialWithoutDaemon(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := Dial(t.Context(), at(missing))
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeNoDaemon || !e.Retryable {
		t.Errorf("Dial = %v", err)
	}
	// The second path is tried when nobody listens on the first.
	c, err := Dial(t.Context(), at(missing, serveLines(t)))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestCallsOfABrokenConnection(t *testing.T) {
	for name, line := range map[string]string{
		"end":      "",
		"nonsense": "not JSON\n",
		"half":     `{"jsonrpc":"2.0","id":1,"res`,
	} {
		c, err := Dial(t.Context(), at(serveLines(t, line)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		} else if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeNoDaemon {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
	}
}

func TestUnaskedAnswersAreIgnored(t *testing.T) {
	c, err := Dial(t.Context(), at(serveLines(t,
		`{"jsonrpc":"2.0","id":99,"result":{}}`+"\n"+`{"jsonrpc":"2.0","method":"event","params":{}}`+"\n"+
			`{"jsonrpc":"2.0","id":1,"result":{"pid":5}}`+"\n"+`{"jsonrpc":"2.0","id":1,"result":{"pid":6}}`+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if st, err := c.Status(t.Context()); err != nil || st.PID != 5 {
		t.Errorf("Status = %+v, %v", st, err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	c, err := Dial(t.Context(), at(serveLines(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) && !isClosed(err) {
		t.Errorf("Status = %v", err)
	}
}

func isClosed(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == CodeNoDaemon
}

func TestRequestTooLong(t *testing.T) {
	c, err := Dial(t.Context(), at(serveLines(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Call(t.Context(), "x", map[string]string{"text": string(make([]byte, MaxRequest))}, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage {
		t.Errorf("Call = %v", err)
	}
}
