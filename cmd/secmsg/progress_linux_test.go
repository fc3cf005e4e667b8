package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal and returns its two ends: the person's and the
// program's.
func openTerminal(t *testing.T, columns uint16) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// Bars show name, percentage, bytes, rate and time left. A file name cannot control the
// terminal, and the bars are removed at the end.
func TestBarsOnATerminal(t *testing.T) {
	person, program := openTerminal(t, 120)
	out, err := os.CreateTemp(t.TempDir(), "stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a := newApp(nil, out, out, program)
	p, err := a.newProgress(progressAuto, false)
	if err != nil {
		t.Fatal(err)
	}
	update := p.callback()
	if update == nil {
		t.Fatal("no bars on a terminal")
	}
	total, left := int64(4<<20), 75.0
	update(local.FileProgress{ID: "1", Name: "evil\x1b[2Jname", Phase: local.PhaseSending, Done: 1 << 20, Total: &total, Rate: 3 << 20, Remaining: &left})
	update(local.FileProgress{ID: "2", Name: "stream", Phase: local.PhaseWaiting, Done: 512})
	var seen bytes.Buffer
	buf := make([]byte, 4096)
	deadline := time.AfterFunc(10*time.Second, func() { _ = program.Close() })
	for !strings.Contains(seen.String(), "waiting for the server") || !strings.Contains(seen.String(), "left") {
		n, err := person.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
		seen.Write(buf[:n])
	}
	if !deadline.Stop() {
		t.Fatal("nothing was drawn")
	}
	for _, want := range []string{`evil\x1b[2Jname`, " 25% ", "1.0 MiB of 4.0 MiB", "3.0 MiB/s", "1m15s left", "512 B, waiting for the server"} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("%q is not in %q", want, seen.String())
		}
	}
	if strings.Contains(seen.String(), "\x1b[2Jname") {
		t.Error("a name cleared the screen")
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
	if info, err := out.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("standard output has %v (%v)", info, err)
	}
}

// Without a terminal no bar is drawn, and only the reasons for waiting are printed. With
// --progress json, each report is a line of JSON.
func TestProgressWithoutATerminal(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a := newApp(nil, out, out, out)
	for _, mode := range []string{progressAuto, progressNone} {
		p, err := a.newProgress(mode, false)
		if err != nil {
			t.Fatal(err)
		}
		p.callback()(local.FileProgress{ID: "1", Name: "a", Phase: local.PhaseFetching, Done: 5})
		if err := p.end(); err != nil {
			t.Fatal(err)
		}
		if info, err := out.Stat(); err != nil || info.Size() != 0 {
			t.Errorf("%s: %d bytes are shown, %v", mode, info.Size(), err)
		}
	}
	p, err := a.newProgress(progressJSON, false)
	if err != nil {
		t.Fatal(err)
	}
	p.callback()(local.FileProgress{ID: "1", Name: "a\u202eb", Phase: local.PhaseFetching, Done: 5})
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	want := `{"type":"progress","progress":{"id":"1","name":"a\u202eb","phase":"fetching","done":5,"total":null,"rate":0,"remaining":null}}` + "\n"
	if err != nil || string(b) != want {
		t.Errorf("%q (%v), want %q", b, err, want)
	}
}
