package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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
		"socket":   {p.Places()[0], filepath.Join(run, "secmsg/secmsg.sock")},
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
	if p.Home != home || p.Data != home || p.Config != home || p.Places()[0] != filepath.Join(home, "secmsg.sock") {
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
	first, second := one.Places()[0], two.Places()[0]
	if len(first) > maxSocketPath || first == second || !strings.HasPrefix(first, run) {
		t.Errorf("sockets %s and %s", first, second)
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
	if got, want := p.Sockets(), append([]string{"/run/elsewhere.sock"}, p.Places()...); !slices.Equal(got, want) {
		t.Errorf("Sockets = %v, want %v", got, want)
	}
	if err := p.Announce(p.Places()[1]); err != nil {
		t.Fatal(err)
	}
	if got := p.Sockets(); got[0] != p.Places()[1] || len(got) != len(p.Places()) {
		t.Errorf("Sockets = %v", got)
	}
	for _, bad := range []string{"relative", "", "/a\x00b", "/" + strings.Repeat("x", maxPointer)} {
		if err := os.WriteFile(filepath.Join(home, "socket"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := p.Sockets(); !slices.Equal(got, p.Places()) {
			t.Errorf("pointer %.20q: Sockets = %v", bad, got)
		}
	}
}

// TestPlacesWithoutRuntimeDirectory: a cron job and a login shell have different
// environments, but each finds the socket of the other's daemon.
func TestPlacesWithoutRuntimeDirectory(t *testing.T) {
	home, run := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	places := func(runtime string) []string {
		t.Helper()
		t.Setenv("XDG_RUNTIME_DIR", runtime)
		p, err := ResolvePaths("")
		if err != nil {
			t.Fatal(err)
		}
		return p.Places()
	}
	cron, login := places(""), places(run)
	for _, place := range cron {
		if !slices.Contains(login, place) {
			t.Errorf("a command of a login shell does not look at %s", place)
		}
	}
	if login[0] != filepath.Join(run, "secmsg/secmsg.sock") {
		t.Errorf("a daemon of a login shell listens at %s", login[0])
	}
	if got := places(filepath.Join(run, "gone")); !slices.Equal(got, cron) {
		t.Errorf("with a runtime directory that does not exist: %v, want %v", got, cron)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(run, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if got := places(run); !slices.Equal(got, cron) {
			t.Errorf("with the runtime directory of another user: %v, want %v", got, cron)
		}
	}
}

// TestHome checks home directories that cannot hold a profile.
func TestHome(t *testing.T) {
	check := func(what, hint string) {
		t.Helper()
		_, err := ResolvePaths("")
		e, ok := errors.AsType[*HomeError](err)
		if !ok || !strings.Contains(e.Hint(), hint) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := ResolvePaths(t.TempDir()); err != nil {
			t.Errorf("%s: with --home: %v", what, err)
		}
	}
	t.Setenv("HOME", "relative")
	check("relative", "--home DIR")
	t.Setenv("HOME", "")
	check("none", "--home DIR")
	if os.Geteuid() != 0 {
		t.Skip("only root can give directories away")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	if _, err := ResolvePaths(""); err != nil {
		t.Error(err)
	}
	if err := os.Chown(home, 4294967, 4294967); err != nil {
		t.Fatal(err)
	}
	check("of another user", "sudo -H -u '#4294967'")
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("left in it: %v, %v", left, err)
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
