package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"secmsg/scripts/lab"
)

// recordName is the file in a copy that has the recorded commands.
const recordName = "commands.json"

// recorded is a command and what it printed: one JSON object a line.
type recorded struct {
	User   string   `json:"user"` // empty: an administrator
	Args   []string `json:"args"`
	Output []string `json:"output"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./scripts/frozen FILE.zip")
		os.Exit(1)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "frozen:", err)
		os.Exit(1)
	}
}

// run makes the realm and writes its copy.
func run(ctx context.Context, path string) (err error) {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists: copies of a released version are never made again", path)
	}
	w, err := lab.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := story(ctx, w); err != nil {
		return err
	}
	record, err := ask(ctx, w)
	if err != nil {
		return err
	}
	for _, user := range []string{"alice", "bob"} {
		if err := w.StopDaemon(ctx, user); err != nil {
			return err
		}
	}
	return write(path, map[string]string{"server": w.ServerDir(), "alice": w.Home("alice"), "bob": w.Home("bob")}, record)
}

// story fills the profiles with one of each thing that a profile can hold, and stops the server.
func story(ctx context.Context, w *lab.World) error {
	for _, user := range []string{"alice", "bob", "carol"} {
		if err := w.Join(ctx, user); err != nil {
			return err
		}
	}
	if err := w.Befriend(ctx, "alice", "bob"); err != nil {
		return err
	}
	file := filepath.Join(w.Dir(), "plan.txt")
	if err := os.WriteFile(file, []byte(strings.Repeat("the plan\n", 1000)), 0o600); err != nil {
		return err
	}
	steps := [][]string{
		{"alice", "verify", "bob", "--confirm"},
		{"alice", "contact", "nick", "bob", "bobby"},
		{"alice", "send", "bob", "hello", "--wait", "delivered"},
		{"bob", "inbox"},
		{"bob", "send", "alice", "hello yourself", "--wait", "delivered"},
		{"alice", "send", "bob", "once", "--idempotency-key", "job", "--wait", "delivered"},
		{"alice", "file", "send", "bob", file, "--wait", "server"},
		{"carol", "contact", "add", "alice"},
		{"carol", "send", "alice", "a request", "--wait", "server"},
		{"alice", "listen", "--consumer", "bot", "--count", "1", "--since", "0", "--timeout", "20s"},
		{"alice", "block", "carol"},
	}
	for _, s := range steps {
		if _, err := w.Must(ctx, s[0], "", s[1:]...); err != nil {
			return err
		}
	}
	if err := w.StopDaemon(ctx, "carol"); err != nil {
		return err
	}
	if err := w.StopDaemon(ctx, "bob"); err != nil {
		return err
	}
	if _, err := w.Must(ctx, "alice", "", "send", "bob", "for the mailbox", "--wait", "server"); err != nil {
		return err
	}
	if err := w.StopServer(); err != nil {
		return err
	}
	_, err := w.Must(ctx, "alice", "", "send", "bob", "queued while the server was away", "--wait", "queued")
	return err
}

// questions are the commands whose output is recorded, by user. They change nothing.
func questions() []recorded {
	q := func(user string, args ...string) recorded {
		return recorded{User: user, Args: append(args, "-o", "json")}
	}
	return []recorded{
		q("alice", "account", "show"), q("alice", "contact", "list"), q("alice", "contact", "show", "bob"), q("alice", "verify", "bob"),
		q("alice", "history", "bob"), q("alice", "history", "carol"), q("alice", "outbox", "list"), q("alice", "file", "list"),
		q("alice", "consumer", "list"), q("alice", "inbox", "--peek"),
		q("bob", "account", "show"), q("bob", "contact", "list"), q("bob", "verify", "alice"), q("bob", "history", "alice"),
		q("bob", "file", "list"), q("bob", "inbox", "--peek"),
	}
}

// ask runs the questions.
func ask(ctx context.Context, w *lab.World) ([]recorded, error) {
	list := questions()
	for i := range list {
		out, err := w.Must(ctx, list[i].User, "", list[i].Args...)
		if err != nil {
			return nil, err
		}
		list[i].Output = lines(out)
	}
	return list, nil
}

// lines splits output into lines.
func lines(out string) []string {
	out = strings.TrimSuffix(out, "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// write writes the directories and the recorded commands into a ZIP file.
func write(path string, dirs map[string]string, record []recorded) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := zip.NewWriter(f)
	for name, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".log") {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return add(z, filepath.ToSlash(filepath.Join(name, rel)), path)
		})
		if err != nil {
			return err
		}
	}
	out, err := z.Create(recordName)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(record); err != nil {
		return err
	}
	return z.Close()
}

// add copies a file into a ZIP file.
func add(z *zip.Writer, name, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := z.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}
