package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

// TestDaemonOfAnotherNamespace has a daemon report a different pid than its lock, as a
// daemon in a container does. Here that pid belongs to another process, which must get
// no signal and is not waited for.
func TestDaemonOfAnotherNamespace(t *testing.T) {
	cfg := config.Client{Paths: config.Paths{Lock: filepath.Join(t.TempDir(), "daemon.lock")}}
	lock, err := local.TakeLock(t.Context(), cfg.Paths.Lock)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemonProcess(cfg, local.Hello{PID: os.Getppid()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	if err := d.waitGone(t.Context(), time.Nanosecond); !isCode(err, local.CodeTimeout) {
		t.Errorf("while the lock is held: %v", err)
	}
	if err := d.kill(t.Context()); !isCode(err, local.CodeNoDaemon) || !strings.Contains(err.Error(), "is not on this system") {
		t.Errorf("kill: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if err := d.waitGone(t.Context(), patience); err != nil {
		t.Errorf("when the lock is free: %v", err)
	}
}

// TestSendIsUnsure: if the daemon exits during a send, the error says that the message
// may have been queued.
func TestSendIsUnsure(t *testing.T) {
	lost := local.Errorf(local.CodeNoDaemon, "the daemon closed the connection")
	for key, want := range map[string]string{"": "--idempotency-key", "k": "the same key"} {
		e := local.As(unsure(lost, local.SendParams{IdempotencyKey: key}))
		if e.Code != local.CodeNoDaemon || !strings.Contains(e.Hint, "may have been queued") || !strings.Contains(e.Hint, want) {
			t.Errorf("key %q: %+v", key, e)
		}
	}
	if e := local.As(unsure(local.Errorf(local.CodeNotFound, "x"), local.SendParams{})); e.Hint != "" {
		t.Errorf("another error: %+v", e)
	}
}

// TestLogThatCannotBeWritten: if a daemon exits at once and could not write the reason
// to its log, the error says so.
func TestLogThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	if e := loggedError(full, 0); e.Code != local.CodeDiskFull || !strings.Contains(e.Message, "/dev/full") {
		t.Errorf("%+v", e)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if e := loggedError(log, 0); e.Code != local.CodeNoDaemon {
		t.Errorf("%+v", e)
	}
}
