package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ageVersion is the version of age that secmsg is compared with.
const ageVersion = "v1.2.1"

// age is the file encryption tool age, built for this run.
type age struct{ bin, identity, recipient string }

// buildAge builds age into dir and generates a key pair.
func buildAge(ctx context.Context, dir string) (*age, error) {
	build := exec.CommandContext(ctx, "go", "install", "filippo.io/age/cmd/...@"+ageVersion)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	build.Dir = dir // outside of this module, so that its go.mod does not apply
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build age: %w: %s", err, lastLine(string(out)))
	}
	a := &age{bin: filepath.Join(dir, "age"), identity: filepath.Join(dir, "identity")}
	keygen := filepath.Join(dir, "age-keygen")
	if out, err := exec.CommandContext(ctx, keygen, "-o", a.identity).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("age-keygen: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, keygen, "-y", a.identity).Output()
	if err != nil {
		return nil, fmt.Errorf("age-keygen: %w", err)
	}
	a.recipient = strings.TrimSpace(string(out))
	return a, nil
}

// pipe runs `age -e | age -d` from one file to another, until the result is durable.
func (a *age) pipe(ctx context.Context, from, to string) (took time.Duration, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, fmt.Errorf("age: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("age: %w", err)
	}
	defer out.Close()
	defer func() { err = errors.Join(err, os.Remove(to)) }()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("age: %w", err)
	}
	encrypt := exec.CommandContext(ctx, a.bin, "-e", "-r", a.recipient)
	decrypt := exec.CommandContext(ctx, a.bin, "-d", "-i", a.identity)
	encrypt.Stdin, encrypt.Stdout, encrypt.Stderr = in, w, os.Stderr
	decrypt.Stdin, decrypt.Stdout, decrypt.Stderr = r, out, os.Stderr
	start := time.Now()
	errE, errD := encrypt.Start(), decrypt.Start()
	_, _ = w.Close(), r.Close() // the children have their own
	if errE == nil {
		errE = encrypt.Wait()
	}
	if errD == nil {
		errD = decrypt.Wait()
	}
	if err := errors.Join(errE, errD); err != nil {
		return 0, fmt.Errorf("age: %w", err)
	}
	if err := out.Sync(); err != nil {
		return 0, fmt.Errorf("age: %w", err)
	}
	return time.Since(start), nil
}

// lastLine returns the last line of a tool's output.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
