package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangup sends SIGHUP, as the end of a session does: a daemon exits cleanly unless
// nohup started it, and a server keeps running.
func TestHangup(t *testing.T) {
	t.Parallel()
	bin, dir := secmsgBinary(t), t.TempDir()
	data, address := filepath.Join(dir, "s"), freeAddress(t)
	if out, err := exec.Command(bin, "serverd", "init", "--domain", "localhost", "--address", address, "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name   string
		args   []string
		ready  []string
		ended  string // in the log of a process that ends; empty for one that goes on
		before []string
	}{
		{"daemon", []string{"--home", filepath.Join(dir, "p"), "daemon", "run"},
			[]string{"--home", filepath.Join(dir, "p"), "--no-autostart", "daemon", "status"}, "daemon stops", nil},
		{"daemon of nohup", []string{"--home", filepath.Join(dir, "q"), "daemon", "run"},
			[]string{"--home", filepath.Join(dir, "q"), "--no-autostart", "daemon", "status"}, "", []string{"nohup"}},
		{"server", []string{"serverd", "run", "--data", data, "--listen", address},
			[]string{"admin", "user", "list", "--data", data}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			line := append(append(c.before, bin), c.args...)
			cmd := exec.Command(line[0], line[1:]...)
			var log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &log, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = cmd.Wait()
			}()
			defer func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				<-ended
				if code := cmd.ProcessState.ExitCode(); code != 0 {
					t.Errorf("ended with %v:\n%s", cmd.ProcessState, log.String())
				}
				if c.ended != "" && !strings.Contains(log.String(), c.ended) {
					t.Errorf("no clean end:\n%s", log.String())
				}
			}()
			answers := func() bool { return exec.Command(bin, c.ready...).Run() == nil }
			waitFor(t, "it answers", ended, answers)
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if c.ended != "" {
				select {
				case <-ended:
				case <-time.After(patience):
					t.Error("it goes on")
				}
				return
			}
			// The signal is delivered before the process can answer again.
			if !answers() {
				t.Error("it does not answer behind the signal")
			}
		})
	}
}

// waitFor polls until ok holds; ended, if it is not nil, ends the wait early.
func waitFor(t *testing.T, what string, ended <-chan struct{}, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("ended before: %s", what)
		case <-deadline:
			t.Fatalf("did not come true: %s", what)
		}
	}
}
