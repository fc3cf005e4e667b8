package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"secmsg/rpc/local"
)

// TestLines pipes many lines through send --lines. The results and the recipient's history
// have the order of the lines. An invalid line is reported and skipped, and causes exit 1.
// Results that were printed before the daemon is killed are durable, and nothing arrives
// twice.
func TestLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	var want []string
	input := func(prefix string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s %d\n", prefix, i)
			want = append(want, fmt.Sprintf("%s %d", prefix, i))
		}
		return b.String()
	}

	out := w.must("alice", input("many", 900), "send", "bob", "--lines", "--wait", "queued", "-o", "json")
	if ids := sentIDs(t, out); len(ids) != 900 || !slices.Equal(ids, w.ownIDs("alice", "bob")) {
		t.Errorf("%d results, or not in the order of history", len(ids))
	}
	r := w.run("alice", input("before", 40)+"bad \xff line\n"+strings.Repeat("x", maxText+1)+"\n"+input("behind", 3), "send", "bob", "--lines", "-o", "json")
	if ids := sentIDs(t, r.stdout); r.code != 1 || len(ids) != 43 || !strings.Contains(r.stderr, "line 41: the text is not UTF-8") ||
		!strings.Contains(r.stderr, "line 42: the text is over 64 KiB") || strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("bad lines: exit %d, %d results, %s", r.code, len(ids), r.stderr)
	}
	r = w.run("alice", "from windows\r\n\r\nlast without an end", "send", "bob", "--lines", "--wait", "queued", "-o", "json")
	if ids := sentIDs(t, r.stdout); r.code != 0 || len(ids) != 2 {
		t.Errorf("CRLF: exit %d, %d results, %s", r.code, len(ids), r.stderr)
	}
	want = append(want, "from windows", "last without an end")
	r = w.run("alice", "one\ntwo\n", "send", "nobody@elsewhere.example", "--lines")
	if r.code != 9 || r.stdout != "" || !strings.Contains(r.stderr, "line 1: ") || strings.Count(r.stderr, "elsewhere") != 1 {
		t.Errorf("a refused line: exit %d, %q, %s", r.code, r.stdout, r.stderr)
	}

	// A line is sent as soon as it is complete, even if no other line follows.
	cmd, stdin, stdout := w.lines("alice")
	for i := range 3 {
		text := fmt.Sprint("now ", i)
		want = append(want, text)
		if _, err := io.WriteString(stdin, text+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.ReadString('\n'); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted: %v", err)
	}
	w.eventually("bob has all", func() bool { return len(w.textsFrom("bob", "alice")) >= len(want) })
	if got := w.textsFrom("bob", "alice"); !slices.Equal(got, want) {
		t.Errorf("bob has %d texts, want %d in their order", len(got), len(want))
	}
}

// TestLinesOfAKilledDaemon kills the daemon in the middle of send --lines.
func TestLinesOfAKilledDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	pid, err := w.DaemonPID("alice")
	if err != nil {
		t.Fatal(err)
	}
	cmd, stdin, stdout := w.lines("alice")
	written := make(chan int)
	go func() {
		n := 0
		for ; n < 900; n++ {
			if _, err := fmt.Fprintf(stdin, "line %d\n", n); err != nil {
				break
			}
		}
		_ = stdin.Close()
		written <- n
	}()
	var printed bytes.Buffer
	for range 100 {
		line, err := stdout.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		printed.WriteString(line)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := printed.ReadFrom(stdout); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	n := <-written
	ids := sentIDs(t, printed.String())
	if len(ids) < n && cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%d of %d lines printed, and then: %v", len(ids), n, err)
	}

	own := w.ownIDs("alice", "bob") // a new daemon answers
	if len(own) < len(ids) || !slices.Equal(own[:len(ids)], ids) {
		t.Errorf("%d messages, the first are not the %d that were printed", len(own), len(ids))
	}
	if len(own) > len(ids)+maxLines {
		t.Errorf("%d messages beyond the %d that were printed", len(own)-len(ids), len(ids))
	}
	var want []string
	for i := range own {
		want = append(want, fmt.Sprint("line ", i))
	}
	w.eventually("bob has all", func() bool { return len(w.textsFrom("bob", "alice")) >= len(want) })
	if got := w.textsFrom("bob", "alice"); !slices.Equal(got, want) {
		t.Errorf("bob has %d texts, want the %d in their order: %q", len(got), len(want), got)
	}
}

// TestReadText: a line of the maximum length is read with either line end. A longer one is
// skipped to its end, and the next one is read.
func TestReadText(t *testing.T) {
	for _, size := range []int{16, 4096} { // the reader's buffer, shorter and longer than the lines
		long := strings.Repeat("x", 100)
		r := bufio.NewReaderSize(strings.NewReader("a\r\n\n"+long+"\r\n"+long+"y\n"+long+"yyyy\r\nb\r\r\n"+long+"y"), size)
		var got []string
		for {
			text, err := readText(r, 100)
			if err == io.EOF {
				break
			}
			if err != nil {
				text = []byte("too long")
			}
			got = append(got, string(text))
		}
		if want := []string{"a", "", long, "too long", "too long", "b\r", "too long"}; !slices.Equal(got, want) {
			t.Errorf("buffer %d: %q", size, got)
		}
	}
}

func TestLineRanges(t *testing.T) {
	for want, lines := range map[string][]int{"lines 2": {2}, "lines 2-4": {2, 3, 4}, "lines 2, 4-5, 9": {2, 4, 5, 9}} {
		if got := lineRanges(lines); got != want {
			t.Errorf("%v: %q", lines, got)
		}
	}
}

// lines starts send --lines with pipes.
func (w *world) lines(user string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.bin, "--home", w.home(user), "-o", "json", "send", "bob", "--lines")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd, stdin, bufio.NewReader(stdout)
}

// ownIDs returns the ids of what user sent to peer, in the order of history.
func (w *world) ownIDs(user, peer string) []string {
	w.t.Helper()
	var ids []string
	for _, e := range decodeEvents(w.t, w.must(user, "", "history", peer, "-n", "1000", "-o", "json")) {
		if e.Direction == local.DirectionOut {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// sentIDs returns the ids that send printed.
func sentIDs(t *testing.T, out string) []string {
	t.Helper()
	var ids []string
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var r local.SendResult
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}
