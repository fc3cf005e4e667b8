package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Any lines of a library become records of the log.
func TestStrayLinesAreLogged(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(logFormat(true, nil)(&b))
	logStray(strings.NewReader("[OpenH264] Warning\n\n\x1b[31mred\n"+strings.Repeat("x", 5000)+"\nlast"), log)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %s", len(lines), b.String())
	}
	for i, want := range []string{"[OpenH264] Warning", "\x1b[31mred", strings.Repeat("x", strayLine), "last"} {
		var r struct{ Text string }
		if err := json.Unmarshal([]byte(lines[i]), &r); err != nil || r.Text != want {
			t.Errorf("line %d: %q, %v", i, r.Text, err)
		}
	}
}

// The trace of a crash may be larger than a pipe, which nobody reads at that time: the
// process must exit all the same. A clean stop must not wait for a library that keeps a
// copy of standard error.
func TestStrayPipeHoldsNobodyUp(t *testing.T) {
	const stderr = 2
	a := newApp(nil, nil, nil, nil)
	follow, err := a.catchStray()
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		block := bytes.Repeat([]byte("goroutine 1 [running]:\n"), 200)
		for range 1000 { // some MB
			_, _ = unix.Write(stderr, block)
		}
	}()
	copied, err := unix.Dup(stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	late := false
	select {
	case <-written:
	case <-time.After(2 * time.Minute):
		late = true
	}
	stop := follow(slog.New(slog.DiscardHandler)) // reads, which ends a wait
	<-written
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	select {
	case <-stopped:
	case <-time.After(2 * time.Minute):
		t.Fatal("the end waits for a library")
	}
	if late {
		t.Error("a write to standard error waits for a reader")
	}
}
