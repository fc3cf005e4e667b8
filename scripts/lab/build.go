package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build builds the program from the module in tree (empty: the module of the working directory) into
// dir, and returns its path. The build equals the released one: without cgo and stripped.
func Build(ctx context.Context, tree, dir string) (string, error) {
	return build(ctx, tree, dir, "CGO_ENABLED=0", "")
}

// BuildForTests is Build from this tree, with the switch that runs every group of transactions twice,
// which exposes functions that must not run twice. Its speed is not meaningful.
func BuildForTests(ctx context.Context, dir string) (string, error) {
	return build(ctx, "", dir, "CGO_ENABLED=0", " -X secmsg/daemon/store.groups=twice")
}

// BuildCgo is Build with cgo, which the devices and encoders of calls need. It fails on machines
// without a C compiler.
func BuildCgo(ctx context.Context, tree, dir string) (string, error) {
	return build(ctx, tree, dir, "CGO_ENABLED=1", "")
}

func build(ctx context.Context, tree, dir, env, flags string) (string, error) {
	bin, err := filepath.Abs(filepath.Join(dir, "secmsg"))
	if err != nil {
		return "", fmt.Errorf("build secmsg: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w"+flags, "-o", bin, "secmsg/cmd/secmsg")
	cmd.Dir = tree
	cmd.Env = append(cmd.Environ(), env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build secmsg: %w\n%s", err, stderr.Bytes())
	}
	return bin, nil
}
