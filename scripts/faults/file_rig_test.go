//go:build linux

package faults

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

const (
	// sealedChunk and filePart are sizes of the format (crypto/SPEC.md, "File streams").
	plainChunk  = 64 << 10
	sealedChunk = plainChunk + 16
	fileHead    = 33
	partChunks  = 128
	filePart    = partChunks * plainChunk
)

// content creates a file that looks random, and is the same for the same size and seed.
func content(t *testing.T, path string, size int64, seed byte) [sha256.Size]byte {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	w := bufio.NewWriter(f)
	if _, err := io.CopyN(io.MultiWriter(w, h), rand.NewChaCha8([32]byte{seed, byte(size), byte(size >> 8)}), size); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// digest returns the digest of a file that must exist.
func digest(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// sendFile sends from alice to bob and returns the file's id.
func (r *rig) sendFile(path string, args ...string) string {
	r.t.Helper()
	out, err := r.w.Must(r.t.Context(), "alice", "", append([]string{"file", "send", "bob", path, "-o", "json"}, args...)...)
	r.check(err)
	return r.firstID(out)
}

func (r *rig) firstID(out string) string {
	r.t.Helper()
	line, _, _ := strings.Cut(out, "\n")
	var one local.SendResult
	if err := json.Unmarshal([]byte(line), &one); err != nil || one.ID == "" {
		r.t.Fatalf("file send printed %q: %v", out, err)
	}
	return one.ID
}

// getFile fetches as bob, who may not have received the message yet.
func (r *rig) getFile(id, to string, args ...string) lab.Result {
	r.t.Helper()
	return r.run("bob", "", append([]string{"file", "get", id, "-O", to, "--wait", "--timeout", "60s"}, args...)...)
}

// wantFile fetches as bob, and requires the sent content.
func (r *rig) wantFile(id, to string, want [sha256.Size]byte, args ...string) {
	r.t.Helper()
	if res := r.getFile(id, to, args...); res.Code != 0 {
		r.t.Fatal(res.Err())
	}
	if digest(r.t, to) != want {
		r.t.Errorf("the file received by %s differs from the sent one", to)
	}
}

// fileState is the state of a file in a user's list, or empty if it is not listed.
func (r *rig) fileState(user, id string) string {
	r.t.Helper()
	out, err := r.w.Must(r.t.Context(), user, "", "file", "list", "-o", "json")
	r.check(err)
	events, err := lab.DecodeEvents(out)
	r.check(err)
	for _, e := range events {
		if e.ID == id && e.File != nil {
			return e.File.State
		}
	}
	return ""
}

// nothingIn requires that a directory is empty, including hidden entries.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s holds %s", dir, e.Name())
	}
}

// running is a command that was started but has not been waited for.
type running struct {
	t    *testing.T
	done chan error
	out  strings.Builder
	errs strings.Builder
}

// begin starts a command of a user.
func (r *rig) begin(user string, args ...string) *running {
	r.t.Helper()
	// Not the test's context, which ends before the clean-up that ends the world.
	ctx, cancel := context.WithCancel(context.Background())
	cmd := r.w.Command(ctx, user, args...)
	run := &running{t: r.t, done: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &run.out, &run.errs
	if err := cmd.Start(); err != nil {
		cancel()
		r.t.Fatal(err)
	}
	go func() {
		defer cancel()
		run.done <- cmd.Wait()
	}()
	r.t.Cleanup(cancel)
	return run
}

// wait waits for the end and returns exit code and outputs.
func (run *running) wait(limit time.Duration) lab.Result {
	run.t.Helper()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-run.done:
		res := lab.Result{Stdout: run.out.String(), Stderr: run.errs.String()}
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			res.Code = exit.ExitCode()
		} else if err != nil {
			run.t.Fatal(err)
		}
		return res
	case <-t.C:
		run.t.Fatalf("the command did not end within %s", limit)
		return lab.Result{}
	}
}

// filesDir creates a directory for fetched files.
func filesDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "got")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
