package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

// world is a realm of real processes whose failures end the test. Everything is
// stopped when the test ends.
type world struct {
	*lab.World
	t      *testing.T
	bin    string
	server string // the server's data directory
}

// result is what one command did.
type result struct {
	stdout, stderr string
	code           int
}

// newWorld makes a realm whose invites name entry and whose server listens on
// listen; empty ones are chosen.
func newWorld(t *testing.T, entry, listen string) *world {
	t.Helper()
	inner, err := lab.New(t.Context(), lab.Options{Dir: t.TempDir(), Binary: secmsgBinary(t), Entry: entry, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: inner, t: t, bin: inner.Binary(), server: inner.ServerDir()}
	t.Cleanup(func() {
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(inner.Logs(4000))
		}
	})
	return w
}

func (w *world) serverPID() int { return w.Server().PID() }

func (w *world) home(user string) string { return w.Home(user) }

// run runs a command of a user; must also demands exit 0 and returns stdout.
func (w *world) run(user, stdin string, args ...string) result {
	w.t.Helper()
	r, err := w.Run(w.t.Context(), user, stdin, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return result{stdout: r.Stdout, stderr: r.Stderr, code: r.Code}
}

func (w *world) must(user, stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.Must(w.t.Context(), user, stdin, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// join makes an account for user.
func (w *world) join(user string) {
	w.t.Helper()
	if err := w.Join(w.t.Context(), user); err != nil {
		w.t.Fatal(err)
	}
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := lab.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// number returns the safety number that user sees for peer.
func (w *world) number(user, peer string) string {
	w.t.Helper()
	var v local.Verification
	out := w.must(user, "", "verify", peer, "-o", "json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || len(v.SafetyNumber) != 60 {
		w.t.Fatalf("verify printed %q: %v", out, err)
	}
	return v.SafetyNumber
}

// fingerprint returns the fingerprint of a user's own identity key.
func (w *world) fingerprint(user string) string {
	w.t.Helper()
	var a local.Account
	out := w.must(user, "", "account", "show", "-o", "json")
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Fingerprint == "" {
		w.t.Fatalf("account show printed %q: %v", out, err)
	}
	return a.Fingerprint
}

// events returns the kept events of a type.
func (w *world) events(user, typ string) []local.Event {
	w.t.Helper()
	return decodeEvents(w.t, w.must(user, "", "listen", "--since", "0", "--type", typ, "--timeout", "1s", "-o", "json"))
}

func decodeEvents(t *testing.T, out string) []local.Event {
	t.Helper()
	events, err := lab.DecodeEvents(out)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// textsFrom returns the texts of peer in user's history.
func (w *world) textsFrom(user, peer string) []string {
	w.t.Helper()
	var texts []string
	for _, e := range decodeEvents(w.t, w.must(user, "", "history", peer, "-n", "1000", "-o", "json")) {
		if e.Direction == local.DirectionIn && e.Message != nil {
			texts = append(texts, e.Message.Text)
		}
	}
	return texts
}

// expectText waits until user's history has a text of peer.
func (w *world) expectText(user, peer, text string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s has %q of %s", user, text, peer), func() bool {
		r := w.run(user, "", "history", peer, "-n", "1000", "-o", "json")
		return r.code == 0 && strings.Contains(r.stdout, `"text":"`+text+`"`)
	})
}

// eventually polls until cond holds.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := lab.Poll(ctx, what, cond); err != nil {
		w.t.Fatal(err)
	}
}

// checkProcesses looks for a secret in the command line and environment of
// every process of the binary under test.
func (w *world) checkProcesses(secret string) {
	w.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.t.Fatal(err)
	}
	seen := 0
	for _, d := range dirs {
		if exe, err := os.Readlink(filepath.Join(d, "exe")); err != nil || exe != w.bin {
			continue
		}
		seen++
		for _, name := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(filepath.Join(d, name))
			if err == nil && strings.Contains(string(b), secret) {
				w.t.Errorf("%s of process %s holds a secret", name, filepath.Base(d))
			}
		}
	}
	if seen == 0 {
		w.t.Skip("no /proc to look at")
	}
}

// checkMemory looks for a secret in the writable memory of a process. If that may not be
// read, it logs that the check was skipped.
func (w *world) checkMemory(pid int, secret string) {
	w.t.Helper()
	base := filepath.Join("/proc", strconv.Itoa(pid))
	maps, err := os.Open(filepath.Join(base, "maps"))
	if err != nil {
		w.t.Logf("memory of the server not looked at: %v", err)
		return
	}
	defer maps.Close()
	mem, err := os.Open(filepath.Join(base, "mem"))
	if err != nil {
		w.t.Logf("memory of the server not looked at: %v", err)
		return
	}
	defer mem.Close()
	read := 0
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var start, end uint64
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &perms); err != nil || !strings.HasPrefix(perms, "rw") {
			continue
		}
		b := make([]byte, min(end-start, 256<<20))
		n, err := mem.ReadAt(b, int64(start))
		if err != nil && !errors.Is(err, io.EOF) && n == 0 {
			continue
		}
		read += n
		if bytes.Contains(b[:n], []byte(secret)) {
			w.t.Errorf("the server's memory holds a text (%s)", lines.Text())
		}
	}
	if read == 0 {
		w.t.Log("memory of the server not looked at: nothing could be read")
	}
}
