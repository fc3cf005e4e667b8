package localapi

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"secmsg/rpc/local"
)

// asOther runs f on a thread with another effective user, which ends with the thread. It
// needs root.
func asOther(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const other, keep = 65534, ^uintptr(0)
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not reused
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, other, keep)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

// openTo gives everybody access to path and to the test's directories above it.
func openTo(t *testing.T, path string) {
	t.Helper()
	for p := path; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnotherUserIsTurnedAway(t *testing.T) {
	path, _ := start(t, newFake())
	// The modes alone keep others out; open them to test the second check.
	openTo(t, path)
	asOther(t, func() {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"status.get"}`+"\n")
		if b, _ := io.ReadAll(c); len(b) != 0 {
			t.Errorf("another user was answered: %s", b)
		}
	})
	if _, err := dial(t, path).Status(t.Context()); err != nil {
		t.Errorf("the own user: %v", err)
	}
}

func TestModesKeepOthersOut(t *testing.T) {
	path, _ := start(t, newFake())
	asOther(t, func() {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			t.Error("another user can connect")
		}
	})
}

func TestClientRefusesAForeignListener(t *testing.T) {
	dir := t.TempDir()
	openTo(t, dir)
	path := filepath.Join(dir, "s")
	var ln net.Listener
	asOther(t, func() {
		var err error
		if ln, err = net.Listen("unix", path); err != nil {
			t.Error(err)
		}
	})
	if ln == nil {
		return
	}
	defer ln.Close()
	if _, err := local.Dial(t.Context(), local.Target{Sockets: []string{path}}); err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("Dial = %v", err)
	}
}
