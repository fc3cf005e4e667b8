package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/rpc/local"

	"golang.org/x/sys/unix"
)

// typist types lines at a terminal, each when the program has turned the echo off,
// and returns what the terminal showed.
func typist(t *testing.T, ask func(a *app) (string, error), lines ...string) (secret, shown string, err error) {
	t.Helper()
	person, program := openTerminal(t, 80)
	stdout, stdoutErr := os.CreateTemp(t.TempDir(), "stdout")
	if stdoutErr != nil {
		t.Fatal(stdoutErr)
	}
	defer stdout.Close()
	var mu sync.Mutex
	var screen []byte
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		b := make([]byte, 256)
		for {
			n, err := person.Read(b)
			mu.Lock()
			screen = append(screen, b[:n]...)
			mu.Unlock()
			if err != nil { // the program's end is closed
				return
			}
		}
	}()
	prompts := func() int {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Count(screen, []byte(":"))
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		secret, err = ask(newApp(nil, program, stdout, program))
	}()
	deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	waitFor := func(what string, ok func() bool) {
		for !ok() {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s: never", what)
			}
		}
	}
	hidden := func() bool {
		mode, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return mode.Lflag&unix.ECHO == 0
	}
	for i, line := range lines {
		waitFor("the prompt", func() bool { return prompts() > i }) // the echo is restored before each prompt
		waitFor("the echo is off", hidden)
		if _, err := io.WriteString(person, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	<-answered
	if hidden() {
		t.Error("the terminal stays without echo")
	}
	_ = program.Close()
	<-seen
	return secret, string(screen), err
}

// A passphrase that is typed at a terminal is never shown, and a new one must be typed
// twice.
func TestPassphraseOnATerminalIsNotShown(t *testing.T) {
	chosen := func(a *app) (string, error) { return a.newSecretLine(t.Context(), "-") }
	known := func(a *app) (string, error) { return a.secretLine(t.Context(), "-") }
	const secret = "correct horse"
	home := t.TempDir()
	// join reads the passphrase before it looks for a daemon, which is not running.
	joins := func(a *app) (string, error) {
		args := []string{"--home", home, "--no-autostart", "join", "secmsg://localhost:1/join#x", "--name", "alice", "--passphrase-file", "-"}
		switch code := run(args, a.stdin, a.stdout, a.stderr); code {
		case 7:
			return secret, nil
		case 1:
			return "", usagef("the passphrases do not match")
		default:
			return "", fmt.Errorf("exit %d", code)
		}
	}
	for _, c := range []struct {
		name  string
		ask   func(*app) (string, error)
		lines []string
		bad   string
	}{
		{"chosen", chosen, []string{secret, secret}, ""},
		{"chosen, differs", chosen, []string{secret, secret + "!"}, "do not match"},
		{"chosen, empty", chosen, []string{""}, "empty"},
		{"known", known, []string{secret}, ""},
		{"join", joins, []string{secret, secret}, ""},
		{"join, differs", joins, []string{secret, secret + "!"}, "do not match"},
	} {
		got, shown, err := typist(t, c.ask, c.lines...)
		switch {
		case strings.Contains(shown, "horse"):
			t.Errorf("%s: shown: %q", c.name, shown)
		case c.bad == "" && (err != nil || got != secret):
			t.Errorf("%s: %q, %v", c.name, got, err)
		case c.bad != "" && (!isCode(err, local.CodeUsage) || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%s: %v", c.name, err)
		case strings.Count(shown, "Passphrase:")+strings.Count(shown, "Repeat the passphrase:") != len(c.lines):
			t.Errorf("%s: asked %q", c.name, shown)
		}
	}
}
