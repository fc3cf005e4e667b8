package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolvePathsXDG(t *testing.T) {
	run := t.TempDir()
	t.Setenv("HOME", "/home/alice")
	t.Setenv("XDG_RUNTIME_DIR", run)
	t.Setenv("XDG_CONFIG_HOME", "relative/is/ignored")
	t.Setenv("XDG_DATA_HOME", "/data")
	t.Setenv("XDG_STATE_HOME", "")
	p, err := ResolvePaths("")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"file":     {p.File, "/home/alice/.config/secmsg/config.yaml"},
		"database": {p.Database, "/data/secmsg/secmsg.db"},
		"log":      {p.Log, "/home/alice/.local/state/secmsg/daemon.log"},
		"socket":   {p.Socket, filepath.Join(run, "secmsg/secmsg.sock")},
	} {
		if c[0] != c[1] {
			t.Errorf("%s = %s, want %s", name, c[0], c[1])
		}
	}
}

func TestResolvePathsHome(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	p, err := ResolvePaths("p")
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "p")
	if p.Home != home || p.Data != home || p.Config != home || p.Socket != filepath.Join(home, "secmsg.sock") {
		t.Errorf("paths = %+v", p)
	}
	if _, err := os.Stat(home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ResolvePaths made %s", home)
	}
}

func TestLongSocketPath(t *testing.T) {
	run := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	one, err := ResolvePaths("/" + strings.Repeat("x", 120))
	if err != nil {
		t.Fatal(err)
	}
	two, err := ResolvePaths("/" + strings.Repeat("x", 121))
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Socket) > maxSocketPath || one.Socket == two.Socket || !strings.HasPrefix(one.Socket, run) {
		t.Errorf("sockets %s and %s", one.Socket, two.Socket)
	}
}

func TestAnnounce(t *testing.T) {
	home := t.TempDir()
	p, err := ResolvePaths(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Announce("/run/elsewhere.sock"); err != nil {
		t.Fatal(err)
	}
	if got := p.Sockets(); len(got) != 2 || got[0] != "/run/elsewhere.sock" || got[1] != p.Socket {
		t.Errorf("Sockets = %v", got)
	}
	if err := p.Announce(p.Socket); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "socket")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pointer that nobody needs: %v", err)
	}
	for _, bad := range []string{"relative", "", "/a\x00b", "/" + strings.Repeat("x", maxPointer)} {
		if err := os.WriteFile(filepath.Join(home, "socket"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := p.Sockets(); len(got) != 1 {
			t.Errorf("pointer %.20q: Sockets = %v", bad, got)
		}
	}
}

func TestPrivateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a'b")
	if err := EnsurePrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	loose, ok := errors.AsType[*LooseError](EnsurePrivateDir(dir))
	if !ok || !strings.HasPrefix(loose.Hint(), "chmod 700 '") || !strings.HasSuffix(loose.Hint(), `a'\''b'`) {
		t.Errorf("loose = %v", loose)
	}
}

func TestLoadClient(t *testing.T) {
	home := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadClient(home, nil)
	if err != nil || c.Intervals != DefaultClient().Intervals || c.Paths.Home != home {
		t.Fatalf("without a file: %+v, %v", c, err)
	}
	write("account: alice\nlog: {level: debug}\nlimits: {outbox_age: 7d}\n")
	t.Setenv("SECMSG_LOG_LEVEL", "warn")
	c, err = LoadClient(home, map[string]any{"account": "bob"})
	if err != nil || c.Account != "bob" || c.Log.Level != "warn" || c.Limits.OutboxAge != 7*day {
		t.Errorf("%+v, %v", c, err)
	}
	write("output: yaml\nintervals: {ping: 0s}\n")
	if _, err = LoadClient(home, nil); err == nil || !strings.Contains(err.Error(), "output") || !strings.Contains(err.Error(), "intervals.ping") {
		t.Errorf("both problems are told: %v", err)
	}
	write("accounts: alice\n")
	if _, err = LoadClient(home, nil); err == nil || !strings.Contains(err.Error(), "accounts: unknown key") {
		t.Errorf("an unknown key: %v", err)
	}
}
