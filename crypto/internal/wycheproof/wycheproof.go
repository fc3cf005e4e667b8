// Package wycheproof reads the test vectors of Project Wycheproof in crypto/testdata,
// for the tests of the packages in crypto.
package wycheproof

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Header contains the fields that the tests of all files have.
type Header struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"`
	Result  string   `json:"result"`
}

// Has reports whether the test has a flag.
func (h Header) Has(flag string) bool { return slices.Contains(h.Flags, flag) }

// Hex is a byte string that is hexadecimal in a file.
type Hex []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Group is a group of tests, which may share a key.
type Group[V any] struct {
	PublicKey struct {
		PK Hex `json:"pk"`
	} `json:"publicKey"`
	Tests []V `json:"tests"`
}

// Load reads a file and checks that it is complete. The path is relative to the
// directory of the tested package.
func Load[V any](t testing.TB, name string) []Group[V] {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "wycheproof", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int        `json:"numberOfTests"`
		TestGroups    []Group[V] `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range file.TestGroups {
		n += len(g.Tests)
	}
	if n == 0 || n != file.NumberOfTests {
		t.Fatalf("%s: %d tests, but the file declares %d", name, n, file.NumberOfTests)
	}
	return file.TestGroups
}
