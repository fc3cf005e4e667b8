package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runWith runs a command line in this process and returns its exit code and standard
// error.
func runWith(t *testing.T, stdout *os.File, args ...string) (int, string) {
	t.Helper()
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	code := run(args, null, stdout, stderr)
	b, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(b)
}

// everyCommand calls f with each command and its path.
func everyCommand(f func(c *cobra.Command, path []string)) {
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		f(c, path)
		for _, sub := range shownCommands(c) {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(newRootCommand(newApp(nil, os.Stdin, os.Stdout, os.Stderr)), nil)
}

// Help is handled like data: a reader may close the pipe, but a full disk is an error.
func TestHelpToABrokenOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device here: %v", err)
	}
	defer full.Close()
	for _, args := range [][]string{{"--help"}, {"help"}, {"send", "--help"}, {"help", "contact", "add"}, {"contact", "-h"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if code, said := runWith(t, w, args...); code != 0 || said != "" {
			t.Errorf("%v to a reader that left: exit %d, %q", args, code, said)
		}
		w.Close()
		if code, said := runWith(t, full, args...); code != 3 || !strings.HasPrefix(said, "secmsg: standard output: ") {
			t.Errorf("%v to a full device: exit %d, %q", args, code, said)
		}
	}
}

// Completion describes flags without the backquotes that mark value names in help.
func TestCompletionShowsNoBackquotes(t *testing.T) {
	everyCommand(func(_ *cobra.Command, path []string) {
		for _, last := range []string{"--", ""} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			read := make(chan string)
			go func() {
				b, _ := io.ReadAll(r)
				read <- string(b)
			}()
			code, said := runWith(t, w, append(append([]string{cobra.ShellCompRequestCmd}, path...), last)...)
			w.Close()
			out := <-read
			r.Close()
			if code != 0 || strings.Contains(out, "`") {
				t.Errorf("%v %q: exit %d, %q, %s", path, last, code, said, out)
			}
			if last == "--" && !strings.Contains(out, "--account\tNAME of the account to use") {
				t.Errorf("%v: no flags: %s", path, out)
			}
		}
	})
}

// Each command has a manual page with its flags and their defaults. The first page also
// describes environment and files.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if code, said := runWith(t, os.Stdout, "man", dir); code != 0 || said != "" {
		t.Fatalf("exit %d, %q", code, said)
	}
	first, err := os.ReadFile(filepath.Join(dir, "secmsg.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".SH COMMANDS\n.SS Server\n", ".SH ENVIRONMENT\n", "SECMSG_HOME", "SECMSG_DATA", "SECMSG_EVENT_ID", "XDG_RUNTIME_DIR",
		".SH FILES\n", "config.yaml", ".SH EXIT STATUS\n", ".TP\n130\ninterrupted\n",
	} {
		if !strings.Contains(string(first), want) {
			t.Errorf("secmsg(1) has no %q", want)
		}
	}
	everyCommand(func(c *cobra.Command, path []string) {
		page, err := os.ReadFile(filepath.Join(dir, strings.Join(append([]string{"secmsg"}, path...), "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		if len(path) == 1 && !strings.Contains(string(first), bold(c.UseLine())+"\n"+roff(c.Short)) {
			t.Errorf("secmsg(1) does not list %v", path)
		}
		for _, line := range strings.Split(c.Flags().FlagUsages(), "\n") { // as help has them
			flag, about, ok := strings.Cut(strings.TrimSpace(line), "   ")
			_, def, has := strings.Cut(about, "(default ")
			if !ok || strings.HasPrefix(flag, "-h, ") {
				continue
			}
			if !strings.Contains(string(page), bold(flag)) {
				t.Errorf("%v: no flag %q", path, flag)
			}
			if has && !strings.Contains(string(page), roff("(default "+def)) {
				t.Errorf("%v: %s has lost its default %q", path, flag, def)
			}
		}
	})
}
