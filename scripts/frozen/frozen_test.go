package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"secmsg/scripts/lab"
	"secmsg/scripts/poll"
)

// TestUpgradeFromReleases opens the realm that each released version left, and finds in it all that was there.
func TestUpgradeFromReleases(t *testing.T) {
	copies, err := filepath.Glob("testdata/*.zip")
	if err != nil || len(copies) == 0 {
		t.Fatalf("no copies: %v", err)
	}
	bin, err := lab.BuildForTests(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range copies {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".zip"), func(t *testing.T) {
			t.Parallel()
			r := &realm{t: t, bin: bin, dir: t.TempDir()}
			record := r.unpack(path)
			for _, user := range []string{"alice", "bob"} {
				t.Cleanup(func() {
					if _, stderr, err := r.run(context.Background(), user, "daemon", "stop"); err != nil {
						t.Errorf("stop %s: %v\n%s", user, err, stderr)
					}
				})
			}
			for _, q := range record {
				r.asks(q)
			}
			r.serves()
		})
	}
}

// realm is an unpacked copy.
type realm struct {
	t        *testing.T
	bin, dir string
}

// unpack unpacks a copy, with the permissions that secmsg demands, and returns what its version recorded.
func (r *realm) unpack(path string) []recorded {
	r.t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		to := filepath.Join(r.dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			r.t.Fatal(err)
		}
		in, err := f.Open()
		if err != nil {
			r.t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(r.dir, recordName))
	if err != nil {
		r.t.Fatal(err)
	}
	var record []recorded
	if err := json.Unmarshal(data, &record); err != nil {
		r.t.Fatal(err)
	}
	return record
}

// run runs a command of a user, or of the administrator if user is empty.
func (r *realm) run(ctx context.Context, user string, args ...string) (stdout, stderr string, err error) {
	if user != "" {
		args = append([]string{"--home", filepath.Join(r.dir, user)}, args...)
	}
	cmd := exec.CommandContext(ctx, r.bin, args...)
	cmd.Env = []string{"HOME=" + r.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "SECMSG_NO_MANAGER=1"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, time.Minute
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// asks runs a recorded command again and compares. Objects may have gained members since.
func (r *realm) asks(q recorded) {
	r.t.Helper()
	out, stderr, err := r.run(r.t.Context(), q.User, q.Args...)
	if err != nil {
		r.t.Errorf("%s %q: %v\n%s", q.User, q.Args, err, stderr)
		return
	}
	got := lines(out)
	if len(got) != len(q.Output) {
		r.t.Errorf("%s %q: %d lines, want %d\n%s", q.User, q.Args, len(got), len(q.Output), out)
		return
	}
	for i := range got {
		var is, was any
		if err := json.Unmarshal([]byte(got[i]), &is); err != nil {
			r.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(q.Output[i]), &was); err != nil {
			r.t.Fatal(err)
		}
		if at := lacks(is, was); at != "" {
			r.t.Errorf("%s %q: %s differs\nis  %s\nwas %s", q.User, q.Args, at, got[i], q.Output[i])
		}
	}
}

// lacks returns the first member of was that is has not, or has with another value. The words of errors may change.
func lacks(is, was any) string {
	old, ok := was.(map[string]any)
	if !ok {
		if reflect.DeepEqual(is, was) {
			return ""
		}
		return "."
	}
	now, ok := is.(map[string]any)
	if !ok {
		return "."
	}
	for name, value := range old {
		switch name {
		case "message", "hint", "cause", "host":
			if _, text := value.(string); text {
				continue
			}
		}
		if at := lacks(now[name], value); at != "" {
			return "." + name + strings.TrimSuffix(at, ".")
		}
	}
	return ""
}

// serves starts the server and finds accounts and waiting mail.
func (r *realm) serves() {
	addr, err := lab.FreeAddress()
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan string, 1)
	data := filepath.Join(r.dir, "server")
	go func() {
		_, stderr, _ := r.run(ctx, "", "serverd", "run", "--data", data, "--listen", addr)
		ended <- stderr
	}()
	defer func() {
		cancel()
		<-ended
	}()
	admin := func(args ...string) (string, error) {
		out, _, err := r.run(r.t.Context(), "", append(append([]string{"admin"}, args...), "--data", data, "-o", "json")...)
		return out, err
	}
	poll.Until(r.t, "the server answers", func() bool {
		_, err := admin("stats")
		return err == nil
	})
	users, err := admin("user", "list")
	if err != nil || len(lines(users)) != 3 {
		r.t.Errorf("users: %v\n%s", err, users)
	}
	for user, want := range map[string]string{"alice": `"mailbox_envelopes":0,`, "bob": `"mailbox_envelopes":1,`} {
		if out, err := admin("device", "list", user); err != nil || !strings.Contains(out, want) {
			r.t.Errorf("devices of %s: %v\n%s", user, err, out)
		}
	}
}

func TestLacks(t *testing.T) {
	for name, c := range map[string]struct{ is, was, want string }{
		"same":    {`{"a":1}`, `{"a":1}`, ""},
		"more":    {`{"a":1,"b":2}`, `{"a":1}`, ""},
		"gone":    {`{"b":2}`, `{"a":1}`, ".a"},
		"other":   {`{"a":2}`, `{"a":1}`, ".a"},
		"inside":  {`{"a":{"b":2}}`, `{"a":{"b":1}}`, ".a.b"},
		"words":   {`{"error":{"code":"x","message":"new words"}}`, `{"error":{"code":"x","message":"old"}}`, ""},
		"message": {`{"message":{"text":"b"}}`, `{"message":{"text":"a"}}`, ".message.text"},
	} {
		var is, was any
		if err := json.Unmarshal([]byte(c.is), &is); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.was), &was); err != nil {
			t.Fatal(err)
		}
		if got := lacks(is, was); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
