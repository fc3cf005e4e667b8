package main

import (
	"bufio"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

func cmdMakeFile(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(randomFile(ts.MkAbs(args[0]), size))
}

// randomFile makes a file whose bytes follow from its size.
func randomFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}), size); err != nil {
		return err
	}
	return w.Flush()
}

func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if digestOf(ts, args[0]) != digestOf(ts, args[1]) {
		ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}

func digestOf(ts *testscript.TestScript, name string) [sha256.Size]byte {
	f, err := os.Open(ts.MkAbs(name))
	ts.Check(err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	ts.Check(err)
	return [sha256.Size]byte(h.Sum(nil))
}

func cmdPrivate(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if mode := info.Mode(); mode != 0o600 {
		ts.Fatalf("%s is %s", args[0], mode)
	}
}
