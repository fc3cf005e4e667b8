//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"secmsg/scripts/lab"
)

const (
	// gatewayEnv names the binary of a real S3 server for a local directory (versitygw), built by
	// scripts/s3-gateway.
	gatewayEnv = "SECMSG_S3_GATEWAY"
	// s3Bucket and s3Prefix are where the realm of these tests keeps its files.
	s3Bucket, s3Prefix = "files", "realm"
	// s3Secret is the gateway's only secret.
	s3Secret = "secret-of-the-test"
)

// gateway runs an S3 server for a local directory until the test ends, and returns its address and the
// directory. A subdirectory is a bucket.
func gateway(t *testing.T) (address, dir string) {
	t.Helper()
	program := os.Getenv(gatewayEnv)
	if program == "" {
		t.Skipf("SKIPPED: %s does not name an S3 server; scripts/test-engines s3 builds one and runs this", gatewayEnv)
	}
	address, err := lab.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, s3Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd := exec.Command(program, "--access", "key", "--secret", s3Secret, "--port", address, "--quiet", "--keep-alive", "posix", dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the S3 server said: %s", log.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	err = lab.Poll(t.Context(), "the S3 server answers", func() bool {
		resp, err := client.Get("http://" + address)
		return err == nil && resp.Body.Close() == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return address, dir
}

// newS3Rig is newRig with a server whose configuration file keeps files in S3, behind a proxy that
// counts the server's traffic.
func newS3Rig(t *testing.T) (r *rig, stored func() (objects []string, bytes int64)) {
	t.Helper()
	address, dir := gateway(t)
	r = newRig(t, options{tcp: true})
	file := filepath.Join(r.w.ServerDir(), "config.yaml")
	text, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		r.check(err)
	}
	text = fmt.Appendf(text, "\nblob:\n  s3:\n    endpoint: \"http://%s\"\n    bucket: %q\n    prefix: %q\n    access_key: \"key\"\n    secret_key_file: \"s3.secret\"\n",
		address, s3Bucket, s3Prefix+"/")
	r.check(os.WriteFile(file, text, 0o600))
	r.check(os.WriteFile(filepath.Join(r.w.ServerDir(), "s3.secret"), []byte(s3Secret+"\n"), 0o600))
	r.check(r.w.StopServer())
	r.check(r.w.StartServer(t.Context()))
	r.connected("alice", "bob")
	return r, func() (objects []string, bytes int64) {
		t.Helper()
		r.check(filepath.WalkDir(filepath.Join(dir, s3Bucket), func(path string, d os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil // it was removed meanwhile
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if os.IsNotExist(err) {
				return nil
			}
			if err == nil {
				objects, bytes = append(objects, path), bytes+info.Size()
			}
			return err
		}))
		return objects, bytes
	}
}

// Files in S3, end to end: the bytes go to the store and come from it, sealed. The server transfers
// none of them, and cancelled files are deleted from the store.
func TestS3Files(t *testing.T) {
	r, stored := newS3Rig(t)
	dir := t.TempDir()
	source, to := filepath.Join(dir, "source"), filepath.Join(dir, "to")
	const size = 3*filePart + 12345
	want := content(t, source, size, 9)
	up, down := r.tcp.Passed()
	id := r.sendFile(source)
	r.wantFile(id, to, want)
	objects, bytes := stored()
	if len(objects) != 1 || bytes < size || bytes > size*overhead/100 || !strings.HasPrefix(filepath.Base(filepath.Dir(objects[0])), s3Prefix) {
		t.Errorf("the store has %v, %d bytes", objects, bytes)
	}

	// A pipe, whose length nobody knows in advance.
	in, err := os.Open(source)
	r.check(err)
	defer in.Close()
	cmd := r.w.Command(t.Context(), "alice", "file", "send", "bob", "-", "--name", "pipe", "-o", "json")
	cmd.Stdin = in
	out, err := cmd.Output()
	r.check(err)
	piped := r.firstID(string(out))
	r.wantFile(piped, to, want, "--force")

	// An unfetched file can be withdrawn; alice cannot take back delivered ones.
	lost := r.sendFile(source)
	if objects, _ := stored(); len(objects) != 3 {
		t.Errorf("the store has %v", objects)
	}
	r.must("alice", "file", "cancel", lost)
	r.eventually("what was cancelled has left the store", func() bool { objects, _ := stored(); return len(objects) == 2 })
	if res := r.run("bob", "", "file", "get", lost, "-O", filepath.Join(dir, "lost")); res.Code != 9 {
		t.Errorf("exit %d, want 9\n%s", res.Code, res.Stderr)
	}
	if _, err := os.Lstat(filepath.Join(dir, "lost")); !os.IsNotExist(err) {
		t.Errorf("the cancelled file was received: %v", err)
	}
	// Bob keeps the delivered file; the store has deleted it.
	r.must("alice", "file", "cancel", id)
	r.eventually("what was delivered has left the store", func() bool { objects, _ := stored(); return len(objects) == 1 })
	if res := r.run("alice", "", "file", "cancel", id); res.Code != 1 {
		t.Errorf("cancelling it twice: exit %d, want 1\n%s", res.Code, res.Stderr)
	}

	// By now the file has been transferred to or from the store five times.
	nowUp, nowDown := r.tcp.Passed()
	if carried := nowUp - up + nowDown - down; carried > size/20 {
		t.Errorf("the server carried %d bytes", carried)
	}
	if blobs, err := r.w.Blobs(); err != nil || len(blobs) != 0 {
		t.Errorf("the server's directory has %v, %v", blobs, err)
	}
	r.noPanic()
}

// Ctrl-C in the middle of an upload leaves nothing in the store, not even parts.
func TestS3Interrupted(t *testing.T) {
	r, stored := newS3Rig(t)
	cmd := r.w.Command(t.Context(), "alice", "file", "send", "bob", "-", "--name", "endless")
	in, err := cmd.StdinPipe()
	r.check(err)
	r.check(cmd.Start())
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() { // the write fails once the command has ended
		b := make([]byte, filePart)
		for _, err := in.Write(b); err == nil; _, err = in.Write(b) {
		}
	})
	r.eventually("parts have come", func() bool { _, bytes := stored(); return bytes >= 2*filePart })
	r.check(cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v, want exit 130", err)
	}
	r.eventually("nothing is left in the store", func() bool { objects, _ := stored(); return len(objects) == 0 })
	r.noPanic()
}
