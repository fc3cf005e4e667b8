package daemon_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHardened is G8: no core file, and no other process attaches.
func TestHardened(t *testing.T) {
	newProfile(t).run()
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	if limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core limit %+v", limit)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	check(t, err)
	if dumpable != 0 {
		t.Error("dumpable")
	}
}

// TestNotify reads what the service manager is told.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(t, err)
	defer sock.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt((100*time.Millisecond).Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	// Read all the time: a full socket holds up whoever writes to it.
	told := make(chan string, 1<<16)
	go func() {
		defer close(told)
		b := make([]byte, 256)
		for {
			n, err := sock.Read(b)
			if err != nil {
				return
			}
			told <- strings.TrimSpace(string(b[:n]))
		}
	}()
	next := func() string {
		t.Helper()
		select {
		case line := <-told:
			return line
		case <-time.After(patience):
			t.Fatal("nothing is told")
		}
		return ""
	}
	s := newServer(t) // it tells READY, too
	p := s.joined("alice")
	seen := map[string]int{}
	for seen["READY=1"] < 2 || seen["WATCHDOG=1"] < 3 || seen["STATUS=1 account, connected"] == 0 {
		seen[next()]++
	}
	p.stop()
	for seen["STOPPING=1"] == 0 {
		seen[next()]++
	}
	check(t, sock.Close())
	for range told { // until its reader has ended
	}
}
