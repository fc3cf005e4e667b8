package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// groupsTwice links the program so that every group of transactions runs twice, which
// reveals functions that must not run twice.
const groupsTwice = "-X secmsg/daemon/store.groups=twice"

// builtBinary is the program under test, built once for all tests of the
// package; removeBinary deletes it when they are over.
var builtBinary = sync.OnceValues(func() (string, error) {
	// The tests must not use the systemd of the user who runs them.
	if err := os.Setenv("SECMSG_NO_MANAGER", "1"); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "secmsg-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "secmsg")
	if out, err := exec.Command("go", "build", "-ldflags", groupsTwice, "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// secmsgBinary returns the path of the program, built from the tree under test.
func secmsgBinary(t testing.TB) string {
	t.Helper()
	bin, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
