//go:build unix

package local

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLock checks that ReadHolder names the living holder, and nobody after the release.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.lock")
	if h := ReadHolder(path); h.Held {
		t.Errorf("without a file: %+v", h)
	}
	if err := os.WriteFile(path, []byte("1 running and a long line of before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path); h.Held || h.PID != 0 {
		t.Errorf("an old file: %+v", h)
	}
	l, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path); !h.Held || h.PID != os.Getpid() || h.State != HolderStarting || h.Stopped {
		t.Errorf("held: %+v", h)
	}
	if err := l.SetState(HolderRunning); err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path); h.State != HolderRunning {
		t.Errorf("running: %+v", h)
	}
	if _, err := TakeLock(t.Context(), path); !isInUse(err) {
		t.Errorf("a second one: %v", err)
	}
	if l.Lost() {
		t.Error("the lock is reported as lost")
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if !l.Lost() {
		t.Error("the lock file was removed, but the lock is not reported as lost")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !l.Lost() {
		t.Error("the lock file was replaced, but the lock is not reported as lost")
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path + ".old"); h.Held {
		t.Errorf("released: %+v", h)
	}
}

func isInUse(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == CodeInUse
}

// TestLookersDoNotTakeTheLock has many clients read a lock continuously while daemons take and release
// it.
func TestLookersDoNotTakeTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.lock")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					ReadHolder(path)
				}
			}
		})
	}
	for range 50 {
		l, err := TakeLock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestHanging gives a running daemon a few seconds to answer, a starting one longer, and checks that
// the error names the process.
func TestHanging(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.lock")
	waits := func(what string, lock string, enough, tooLong time.Duration, text string) {
		t.Helper()
		if err := hanging(lock, enough); err != nil {
			t.Errorf("%s: after %s: %v", what, enough, err)
		}
		err := hanging(lock, tooLong)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeNoDaemon || !strings.Contains(e.Message, text) || e.Hint == "" || !IsHanging(err) || IsAbsent(err) {
			t.Errorf("%s: after %s: %v", what, tooLong, err)
		}
	}
	waits("no lock is known", "", greetTimeout-1, greetTimeout, "the daemon has not responded")
	waits("nobody has the lock", path, greetTimeout, startTimeout, "the service manager did not start the daemon")
	l, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	waits("it starts", path, greetTimeout, startTimeout, "pid")
	if err := l.SetState(HolderRunning); err != nil {
		t.Fatal(err)
	}
	waits("it runs", path, greetTimeout-1, greetTimeout, "pid")
}

// TestDaemonThatLeaves: if a daemon ends before its greeting, that is the same as no daemon, since
// nothing was asked of it.
func TestDaemonThatLeaves(t *testing.T) {
	leaving := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", leaving)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	if _, err := Dial(t.Context(), at(leaving)); !IsAbsent(err) {
		t.Errorf("Dial = %v", err)
	}
	c, err := Dial(t.Context(), at(leaving, serveLines(t)))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = ln.Close()
	<-done
}
