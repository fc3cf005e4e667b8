package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"secmsg/rpc/local"
	"secmsg/rpc/local/screen"
)

// hellishNames are difficult names that a file system or a sender may give to a file.
func hellishNames() []string {
	return []string{
		"../../.bashrc", "..", "/etc/passwd", "/", `C:\Windows\win.ini`, `..\..\boot.ini`, ".ssh/authorized_keys", ".bashrc", ".", " ",
		"trailing.", "trailing ", " leading", "CON", "nul.txt", "COM1.log", "a:b", "x\x00y", "new\nline", "tab\there", "esc\x1b[2J\x1b]0;title\a",
		"rtl\u202efdp.exe", "zero\u200bwidth", "\ufeffbom", "c1\u009b31m", "line\u2028sep", "bad\xff\xfeutf8", "del\x7f", "-rf", "--force", "$(reboot)", "`id`",
		"a'b\"c", "*?[x]", "|pipe", "emoji 🎉.txt", "日本語.txt", "e\u0301", strings.Repeat("n", 300), strings.Repeat("é", 200) + ".tar.gz", "~root", "%2e%2e%2f", "a\\b",
	}
}

// D5, difficult names through real processes: a file with any name arrives whole, inside
// the chosen directory, under a name that cannot control a terminal, and does not replace
// another file.
func TestFileNamesFromHell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	got := filepath.Join(t.TempDir(), "got")
	if err := os.Mkdir(got, 0o700); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(filepath.Dir(got), "canary")
	if err := os.WriteFile(canary, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for i, name := range hellishNames() {
		text := "content " + string(rune('a'+i%26)) + strings.Repeat("!", i)
		if strings.ContainsRune(name, 0) {
			continue // cannot be an argument of a command; see the tests of SafeName
		}
		w.check(text, name, got, paths, "file", "send", "bob", "-", "-o", "json", "--name", name)
		own := filepath.Join(t.TempDir(), "x")
		if strings.ContainsRune(name, '/') || name == "." || name == ".." || len(name) > 255 {
			continue // not a name in a file system
		}
		own = filepath.Join(filepath.Dir(own), name)
		if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		w.check(text, name, got, paths, "file", "send", "bob", own, "-o", "json")
	}
	if b, err := os.ReadFile(canary); err != nil || string(b) != "canary" {
		t.Errorf("the canary is %q (%v)", b, err)
	}
	entries, err := os.ReadDir(got)
	if err != nil || len(entries) != len(paths) {
		t.Errorf("%d entries for %d files (%v)", len(entries), len(paths), err)
	}
	for _, out := range []string{w.must("bob", "", "file", "list"), w.must("bob", "", "history", "alice", "-n", "1000"), w.must("alice", "", "file", "list", "-o", "json")} {
		if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }); i >= 0 {
			t.Errorf("%q is printed as it is", out[max(0, i-40):min(len(out), i+40)])
		}
	}
}

// check sends one file and fetches it into a directory.
func (w *world) check(text, name, dir string, paths map[string]bool, args ...string) {
	w.t.Helper()
	var sent local.SendResult
	out := w.must("alice", text, args...)
	if err := json.Unmarshal([]byte(out), &sent); err != nil {
		w.t.Fatalf("%q: send printed %q: %v", name, out, err)
	}
	var got local.FileGot
	out = w.must("bob", "", "file", "get", sent.ID, "--wait", "--timeout", "30s", "-O", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		w.t.Fatalf("%q: get printed %q: %v", name, out, err)
	}
	switch base := filepath.Base(got.Path); {
	case filepath.Dir(got.Path) != dir:
		w.t.Errorf("%q: saved as %q", name, got.Path)
	case paths[got.Path]:
		w.t.Errorf("%q: %q was there before", name, got.Path)
	case !utf8.ValidString(base) || len(base) > 255 || base[0] == '.' || strings.IndexFunc(base, screen.Acts) >= 0:
		w.t.Errorf("%q: the name is %q", name, base)
	}
	paths[got.Path] = true
	info, err := os.Lstat(got.Path)
	if err != nil || info.Mode() != 0o600 {
		w.t.Errorf("%q: %v, %v", name, info, err)
	}
	if b, err := os.ReadFile(got.Path); err != nil || string(b) != text {
		w.t.Errorf("%q: %q (%v), want %q", name, b, err, text)
	}
}
