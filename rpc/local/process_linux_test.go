package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestListedHolder(t *testing.T) {
	const list = "1: FLOCK  ADVISORY  WRITE 10 fe:00:77 0 EOF\n" +
		"1: -> FLOCK  ADVISORY  WRITE 11 fe:00:77 0 EOF\n" +
		"2: POSIX  ADVISORY  WRITE 12 fe:00:77 0 EOF\n" +
		"3: FLOCK  ADVISORY  READ 13 fe:00:77 0 EOF\n" +
		"4: FLOCK  ADVISORY  WRITE 14 fe:00:78 0 EOF\n" +
		"nonsense\n\n5: FLOCK ADVISORY WRITE\n"
	for _, c := range []struct {
		pid   int
		inode uint64
		want  bool
	}{
		{10, 77, true}, {11, 77, false}, {12, 77, false}, {13, 77, false}, {14, 77, false}, {1, 77, false},
		{14, 78, true}, {10, 78, false},
		{10, 79, true}, // not listed: a process of another namespace has it
	} {
		if got := listedHolder(list, c.pid, c.inode); got != c.want {
			t.Errorf("pid %d, inode %d: %v", c.pid, c.inode, got)
		}
	}
}

// TestHolderIsNotTheDaemonOfTheFile has this process hold the lock while the file names a living daemon
// of another profile whose pid was reused.
func TestHolderIsNotTheDaemonOfTheFile(t *testing.T) {
	other := exec.Command("sh", "-c", "sleep 1000; :", "daemon", "run", "x")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-other.Process.Pid, syscall.SIGKILL)
		_ = other.Wait()
	}()
	// The kernel shows the arguments of a program some time after Start has returned.
	for late := time.After(time.Minute); !isDaemon(other.Process.Pid); {
		select {
		case <-late:
			t.Fatal("the process is not recognised as a daemon")
		case <-time.After(time.Millisecond):
		}
	}
	path := filepath.Join(t.TempDir(), "daemon.lock")
	l, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := os.WriteFile(path, []byte(strconv.Itoa(other.Process.Pid)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path); !h.Held || h.PID != 0 {
		t.Errorf("%+v", h)
	}
}
