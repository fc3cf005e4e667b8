package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Each level has its priority, with any attributes and groups of a logger, and no text in
// a record can forge one.
func TestJournalHandler(t *testing.T) {
	for name, format := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime})
		},
		"json": func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime})
		},
	} {
		var b bytes.Buffer
		log := slog.New(newJournalHandler(&b, format)).With("part", "p").WithGroup("g")
		log.Debug("d")
		log.Info("i\n<0>forged")
		log.Warn("w", "time", "stays in its group")
		log.Error("e")
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != 4 {
			t.Fatalf("%s: %d lines:\n%s", name, len(lines), b.String())
		}
		for i, priority := range []string{"<7>", "<6>", "<4>", "<3>"} {
			if !strings.HasPrefix(lines[i], priority) || !strings.Contains(lines[i], "part") || strings.Contains(lines[i], "T00:") {
				t.Errorf("%s: line %d: %s", name, i, lines[i])
			}
		}
		if !strings.Contains(lines[2], "stays") || strings.HasPrefix(lines[1], "<6>time=") || strings.HasPrefix(lines[1], `<6>{"time"`) {
			t.Errorf("%s:\n%s", name, b.String())
		}
	}
}

// startInJournal starts the program with a pipe for its standard error, which is
// the journal's if the environment says so.
func startInJournal(t *testing.T, named bool, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	if !named {
		stream = fmt.Sprintf("%d:%d", st.Dev, st.Ino+1)
	}
	cmd := exec.Command(secmsgBinary(t), args...)
	cmd.Env = append(os.Environ(), "JOURNAL_STREAM="+stream)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(r)
}

// In the journal a daemon's lines have a priority and no time of their own. A daemon that
// only inherited the variable and logs elsewhere writes normal lines.
func TestDaemonInJournal(t *testing.T) {
	for named, want := range map[bool]string{true: `^<6>level=INFO msg="daemon runs"`, false: `^time=\S+ level=INFO msg="daemon runs"`} {
		cmd, log := startInJournal(t, named, "--home", filepath.Join(t.TempDir(), "h"), "daemon", "run")
		line, err := log.ReadString('\n')
		if err != nil || !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("journal %v: %q, %v", named, line, err)
		}
		rest := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, log)
			rest <- err
		}()
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait(), <-rest); err != nil {
			t.Error(err)
		}
	}
}

// The error that ends a service is an error in the journal, each of its lines.
func TestErrorInJournal(t *testing.T) {
	home := filepath.Join(t.TempDir(), "h")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	cmd, log := startInJournal(t, true, "--home", home, "daemon", "run")
	text, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 1 {
		t.Errorf("exit %d (%v), want 1", got, err)
	}
	if !regexp.MustCompile(`^<3>secmsg: directory .* is open to other users.*\n<3>hint: chmod 700 .*\n$`).Match(text) {
		t.Errorf("journal: %s", text)
	}
}

// A watchdog's SIGABRT leaves one line in the log and the stacks in a file.
func TestAbortLogsOneLine(t *testing.T) {
	home := filepath.Join(t.TempDir(), "h")
	cmd, log := startInJournal(t, true, "--home", home, "daemon", "run")
	if line, err := log.ReadString('\n'); err != nil || !strings.Contains(line, "daemon runs") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.Success() {
		t.Errorf("ended with success, so that nothing restarts it: %v", err)
	}
	path := filepath.Join(home, stacksFile)
	if strings.Count(string(text), "\n") != 1 || !strings.HasPrefix(string(text), "<3>") || !strings.Contains(string(text), path) {
		t.Errorf("log: %s", text)
	}
	stacks, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(stacks, []byte("goroutine ")) {
		t.Errorf("stacks: %.200s, %v", stacks, err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
