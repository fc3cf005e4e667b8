//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/rpc/local/schema"
)

// TestDocumentedExitCodes compares the exit codes in the comments of the error
// codes, from which rpc/LOCAL.md is made, with the table of this program.
func TestDocumentedExitCodes(t *testing.T) {
	c, err := schema.Read(os.DirFS(filepath.Join("..", "..", "rpc", "local")))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[local.Code]int{}
	for _, code := range c.Codes {
		documented[local.Code(code.Name)] = code.Exit
	}
	for _, row := range exitTable() {
		for _, code := range row.codes {
			if got, ok := documented[code]; !ok || got != row.code {
				t.Errorf("%s is documented with the exit code %d (%v); it exits %d", code, got, ok, row.code)
			}
			delete(documented, code)
		}
	}
	for code := range documented {
		t.Errorf("%s is documented and in no row of the table of exit codes", code)
	}
}

// example returns a program of rpc/LOCAL.md, written to a file of its name.
func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "rpc", "LOCAL.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), "<!-- example "+name+" -->\n```")
	_, after, _ = strings.Cut(after, "\n")
	text, _, closed := strings.Cut(after, "\n```\n")
	if !ok || !closed {
		t.Fatalf("rpc/LOCAL.md has no example %s", name)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// asUser prepares a program that runs as a user of the world, with secmsg in its
// PATH. It is in a process group of its own, which ends as a whole.
func (w *world) asUser(ctx context.Context, user string, args ...string) *exec.Cmd {
	w.t.Helper()
	bin := filepath.Join(w.t.TempDir(), "secmsg")
	if err := os.Symlink(w.bin, bin); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SECMSG_HOME="+w.home(user), "PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// TestDocumentedExamples runs the programs of rpc/LOCAL.md. The bots are killed
// and started again, and answer each message once.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	need := func(t *testing.T, program string) {
		t.Helper()
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	w := newWorld(t, "", "")
	for _, user := range []string{"alice", "bob", "carol"} {
		w.join(user)
	}
	bot := func(t *testing.T, user string, command ...string) {
		t.Helper()
		if err := w.Befriend(t.Context(), "alice", user); err != nil {
			t.Fatal(err)
		}
		run := func(texts ...string) {
			t.Helper()
			ctx, stop := context.WithCancel(t.Context())
			var said bytes.Buffer
			cmd := w.asUser(ctx, user, command...)
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				stop()
				_ = cmd.Wait()
				if t.Failed() {
					t.Log(said.String())
				}
			}()
			w.eventually("the bot listens", func() bool {
				return strings.Contains(w.must(user, "", "consumer", "list", "-o", "json"), `"attached":true`)
			})
			for _, text := range texts {
				before := len(w.textsFrom("alice", user))
				w.must("alice", "", "send", user, text, "--wait", "delivered")
				if text == "ping" {
					w.eventually("the bot answers", func() bool { return len(w.textsFrom("alice", user)) > before })
				}
			}
			messages := w.events(user, local.TypeMessage)
			w.eventually("the bot has acknowledged every message", func() bool {
				var c local.Consumer
				err := json.Unmarshal([]byte(w.must(user, "", "consumer", "list", "-o", "json")), &c)
				return err == nil && c.Cursor >= messages[len(messages)-1].Seq
			})
		}
		run("hello", "ping")
		w.must("alice", "", "send", user, "ping", "--wait", "delivered") // while the bot is away
		run("ping")
		if got := w.textsFrom("alice", user); strings.Join(got, " ") != "pong pong pong" {
			t.Errorf("the bot said %q", got)
		}
	}
	t.Run("shell", func(t *testing.T) {
		need(t, "bash")
		need(t, "jq")
		bot(t, "bob", "bash", example(t, "bot.sh"))
	})
	t.Run("python", func(t *testing.T) {
		need(t, "python3")
		bot(t, "carol", "python3", example(t, "bot.py"))
		path := filepath.Join(t.TempDir(), "letter.txt")
		if err := os.WriteFile(path, []byte("an open file"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := w.asUser(t.Context(), "carol", "python3", example(t, "sendfile.py"), "alice", path)
		out, err := cmd.CombinedOutput()
		var sent local.SendResults
		if err != nil || json.Unmarshal(out, &sent) != nil || len(sent.Results) != 1 || sent.Results[0].State != local.StateAccepted {
			t.Fatalf("%v: %s", err, out)
		}
		w.eventually("the file is here", func() bool {
			return w.run("alice", "", "file", "get", sent.Results[0].ID, "-O", "-").stdout == "an open file"
		})
	})
}
