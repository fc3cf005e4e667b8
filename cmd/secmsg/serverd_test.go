package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runHere runs a command line in this process.
func runHere(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	in, out, errs := open("in"), open("out"), open("err")
	code = run(args, in, out, errs)
	read := func(f *os.File) string {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return read(out), read(errs), code
}

func TestServerdInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "srv")
	out, errs, code := runHere(t, "serverd", "init", "--domain", "chat.example.com", "--data", dir, "--offline-root", "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var r map[string]string
	if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("%q: %v", out, err)
	}
	if len(r) != 4 || r["domain"] != "chat.example.com" || r["data"] != dir || len(r["fingerprint"]) != 43 ||
		!strings.HasPrefix(r["invite"], "secmsg://chat.example.com:8443/join#") || !strings.HasSuffix(r["invite"], "."+r["fingerprint"]) {
		t.Errorf("%v", r)
	}
	if !strings.Contains(errs, dir+"/root.key") {
		t.Errorf("--offline-root says %q", errs)
	}
	// A directory in use, a missing domain, a bad domain, a loose directory.
	loose := t.TempDir()
	if err := os.Chmod(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"in use":       {"--domain", "chat.example.com", "--data", dir},
		"missing":      {"--data", filepath.Join(loose, "a")},
		"domain":       {"--domain", "NOT ONE", "--data", filepath.Join(loose, "b")},
		"chmod 700 ":   {"--domain", "chat.example.com", "--data", loose},
		"unknown flag": {"--domain", "chat.example.com", "--datta", loose},
	} {
		out, errs, code := runHere(t, slices.Concat([]string{"serverd", "init"}, args)...)
		if code != 1 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, errs)
		}
	}
}

func TestServerdRunRefuses(t *testing.T) {
	empty := t.TempDir()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("domian: x\nlimits: {ping: soon}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runHere(t, "serverd", "run", "--data", empty); code != 1 || !strings.Contains(errs, "serverd init") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code := runHere(t, "serverd", "run", "--config", bad); code != 1 || !strings.Contains(errs, "domian") || !strings.Contains(errs, "limits.ping") {
		t.Errorf("exit %d: %s", code, errs)
	}
	t.Setenv("SECMSG_DATA", empty)
	for _, args := range [][]string{{"admin", "user", "list"}, {"admin", "stats"}, {"admin", "check"}, {"admin", "check", "--confirm-clock"}, {"admin", "invite", "create"}, {"admin", "device", "list", "bob"}} {
		out, errs, code := runHere(t, append(args, "-o", "json")...)
		if code != 3 || out != "" || !strings.Contains(errs, `"code":"unreachable"`) || !strings.Contains(errs, empty) {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	for _, args := range [][]string{{"admin"}, {"admin", "user"}, {"admin", "user", "show"}, {"admin", "invite", "revoke"}, {"admin", "user", "list", "extra"}, {"admin", "frobnicate"}} {
		if _, _, code := runHere(t, args...); code != 1 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
