package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"secmsg/scripts/lab"
)

// groupsTwice links the program so that every group of transactions runs twice, which
// reveals functions that must not run twice.
const groupsTwice = "-X secmsg/daemon/store.groups=twice"

// parallelTests is how many tests run at the same time.
const parallelTests = 5

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// The tests must not use the systemd of the user who runs them.
	err := errors.Join(os.Setenv("SECMSG_NO_MANAGER", "1"), lab.ParallelTests(parallelTests))
	if err == nil {
		binaries, err = os.MkdirTemp("", "secmsg-test-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	return m.Run()
}

// binaries is a directory for programs that several tests use.
var binaries string

// builtBinary is the program under test, built once for all tests of the package.
var builtBinary = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(binaries, "secmsg")
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
