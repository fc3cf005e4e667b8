package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build builds the program from the module that the working directory belongs
// to, into dir, and returns its path. The build is the one that is shipped:
// without cgo and stripped.
func Build(ctx context.Context, dir string) (string, error) {
	return build(ctx, dir, "CGO_ENABLED=0", "")
}

// BuildForTests is Build with the switch that makes every group of transactions
// run twice, which shows functions that do not bear it. It must not be measured.
func BuildForTests(ctx context.Context, dir string) (string, error) {
	return build(ctx, dir, "CGO_ENABLED=0", " -X secmsg/daemon/store.groups=twice")
}

// BuildCgo is Build with cgo, which is what devices and encoders of calls need.
// It fails where there is no C compiler.
func BuildCgo(ctx context.Context, dir string) (string, error) {
	return build(ctx, dir, "CGO_ENABLED=1", "")
}

func build(ctx context.Context, dir, env, flags string) (string, error) {
	bin := filepath.Join(dir, "secmsg")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w"+flags, "-o", bin, "secmsg/cmd/secmsg")
	cmd.Env = append(cmd.Environ(), env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build secmsg: %w\n%s", err, stderr.Bytes())
	}
	abs, err := filepath.Abs(bin)
	return abs, errors.Join(err)
}
