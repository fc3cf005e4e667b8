package serverd_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The service manager is notified when the server is ready, that it is alive, of its status, and when
// it stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt((100*time.Millisecond).Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	next := func() string {
		t.Helper()
		if err := sock.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 512)
		n, err := sock.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b[:n]))
	}
	s := start(t, nil)
	seen, status := map[string]int{}, ""
	for seen["READY=1"] == 0 || seen["WATCHDOG=1"] < 3 || status == "" {
		m := next()
		seen[m]++
		if line, ok := strings.CutPrefix(m, "STATUS="); ok {
			status = line
		}
	}
	if !strings.HasPrefix(status, "serves api, ") || !strings.Contains(status, "0 devices connected") {
		t.Errorf("status: %q", status)
	}
	s.stop()
	for seen["STOPPING=1"] == 0 {
		seen[next()]++
	}
}
