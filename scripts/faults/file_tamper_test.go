//go:build linux

package faults

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"secmsg/scripts/lab"
)

// lieAbout is a server's modification of the parts of a blob of at least 128 chunks.
type lieAbout struct {
	name string
	lie  func(parts [][]byte) [][]byte
}

// flip flips one bit at an offset of the whole blob; a negative offset counts from the end.
func flip(offset int) func([][]byte) [][]byte {
	return func(parts [][]byte) [][]byte {
		whole := bytes.Join(parts, nil)
		if offset < 0 {
			offset += len(whole)
		}
		whole[offset] ^= 1
		return cut(whole, len(parts[0]))
	}
}

// edit changes the chunks of the whole blob.
func edit(f func(chunks [][]byte) [][]byte) func([][]byte) [][]byte {
	return func(parts [][]byte) [][]byte {
		whole := bytes.Join(parts, nil)
		chunks := slices.Collect(slices.Chunk(whole[fileHead:], sealedChunk))
		return cut(append(whole[:fileHead:fileHead], bytes.Join(f(chunks), nil)...), len(parts[0]))
	}
}

// cut splits a blob into parts of the first part's size.
func cut(whole []byte, first int) [][]byte {
	if len(whole) <= first {
		return [][]byte{whole}
	}
	return [][]byte{whole[:first], whole[first:]}
}

func lies() []lieAbout {
	const firstPart = fileHead + partChunks*sealedChunk
	return []lieAbout{
		{"version", flip(0)},
		{"commitment, first byte", flip(1)},
		{"commitment, last byte", flip(fileHead - 1)},
		{"first chunk", flip(fileHead)},
		{"first tag", flip(fileHead + sealedChunk - 1)},
		{"a chunk in the middle", flip(fileHead + 64*sealedChunk + 1000)},
		{"last tag of the first part", flip(firstPart - 1)},
		{"first byte of the second part", flip(firstPart)},
		{"last chunk", flip(-20)},
		{"last tag", flip(-1)},
		{"one byte less", func(p [][]byte) [][]byte { return [][]byte{p[0], p[1][:len(p[1])-1]} }},
		{"one byte more", func(p [][]byte) [][]byte { return [][]byte{p[0], append(bytes.Clone(p[1]), 0)} }},
		{"without the last chunk", edit(func(c [][]byte) [][]byte { return c[:len(c)-1] })},
		{"without the second part", func(p [][]byte) [][]byte { return p[:1] }},
		{"without the first part", func(p [][]byte) [][]byte { return p[1:] }},
		{"the last chunk twice", edit(func(c [][]byte) [][]byte { return append(c, c[len(c)-1]) })},
		{"two chunks swapped", edit(func(c [][]byte) [][]byte { c[3], c[7] = c[7], c[3]; return c })},
		{"two chunks of two parts swapped", edit(func(c [][]byte) [][]byte { c[partChunks-1], c[partChunks] = c[partChunks], c[partChunks-1]; return c })},
		{"a chunk in place of another", edit(func(c [][]byte) [][]byte { c[5] = c[4]; return c })},
		{"a chunk left out", edit(func(c [][]byte) [][]byte { return slices.Delete(c, 5, 6) })},
		{"parts swapped", func(p [][]byte) [][]byte { return [][]byte{p[1], p[0]} }},
		{"zeros", func(p [][]byte) [][]byte { return [][]byte{make([]byte, len(p[0])), make([]byte, len(p[1]))} }},
	}
}

// D2, D3, D4: a server changes any part of a sealed file, truncates, extends or reorders it: no
// plaintext gets the final name, nothing is left beside it, and the sender never gets "delivered".
func TestFileTamperedByTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	source := filepath.Join(t.TempDir(), "secret")
	content(t, source, filePart+3*plainChunk+100, 1)
	plain, err := os.ReadFile(source)
	r.check(err)
	for _, l := range lies() {
		id, dir := r.sendAndFind(source)
		parts, err := lab.ReadBlob(dir)
		r.check(err)
		r.check(lab.WriteBlob(dir, l.lie(parts)))
		r.refuses(l.name, id, plain)
	}
	r.noPanic()
}

// D11: a server serves one file for another, the previous one for the current one, and both for each
// other.
func TestFileSubstitutedByTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	dir := t.TempDir()
	oldFile, newFile := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	const size = plainChunk + 5
	content(t, oldFile, size, 1)
	content(t, newFile, size, 2)
	newPlain, err := os.ReadFile(newFile)
	r.check(err)
	oldPlain, err := os.ReadFile(oldFile)
	r.check(err)
	oldID, oldDir := r.sendAndFind(oldFile)
	newID, newDir := r.sendAndFind(newFile, "--name", "old")
	a, err := lab.ReadBlob(oldDir)
	r.check(err)
	b, err := lab.ReadBlob(newDir)
	r.check(err)
	r.check(lab.WriteBlob(newDir, a))
	r.refuses("an old one", newID, oldPlain)
	r.check(lab.WriteBlob(oldDir, b))
	r.refuses("swapped", oldID, newPlain)

	// If the server serves the correct bytes again, they are accepted: only the bytes count.
	r.check(lab.WriteBlob(oldDir, a))
	to := filepath.Join(dir, "got")
	if res := r.getFile(oldID, to); res.Code != 0 {
		t.Fatalf("the unchanged blob is refused: %v", res.Err())
	}
	if digest(t, to) != digest(t, oldFile) {
		t.Error("the received file differs from the sent one")
	}
	r.noPanic()
}

// sendAndFind sends a file and returns its id and the directory of its blob.
func (r *rig) sendAndFind(path string, args ...string) (id, dir string) {
	r.t.Helper()
	before, err := r.w.Blobs()
	r.check(err)
	id = r.sendFile(path, args...)
	after, err := r.w.Blobs()
	r.check(err)
	for _, d := range after {
		if !slices.Contains(before, d) {
			return id, d
		}
	}
	r.t.Fatal("the server has no new blob")
	return "", ""
}

// refuses requires that bob cannot fetch a file in any way, and that nothing of it is left at the
// destination or in his daemon's files.
func (r *rig) refuses(name, id string, plain []byte) {
	r.t.Helper()
	dir := filesDir(r.t)
	res := r.getFile(id, filepath.Join(dir, "file"), "-o", "json")
	if res.Code != 3 && res.Code != 9 { // damaged, or no longer available once that is known
		r.t.Errorf("%s: exit %d, want 3\n%s", name, res.Code, res.Stderr)
	}
	nothingIn(r.t, dir)
	if res := r.getFile(id, "-"); res.Code == 0 || bytes.Equal([]byte(res.Stdout), plain) {
		r.t.Errorf("%s: exit %d and %d bytes of %d on a pipe", name, res.Code, len(res.Stdout), len(plain))
	}
	if state := r.fileState("alice", id); state == "delivered" || state == "read" {
		r.t.Errorf("%s: the state at alice is %s", name, state)
	}
	r.noPlaintext(name, plain)
}

// noPlaintext looks for a piece of a file in all files of bob's daemon.
func (r *rig) noPlaintext(name string, plain []byte) {
	r.t.Helper()
	piece := plain[len(plain)-64:]
	first := plain[:min(64, len(plain))]
	err := filepath.WalkDir(r.w.Home("bob"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // removed meanwhile, or a socket
		}
		b, err := os.ReadFile(path)
		if err == nil && (bytes.Contains(b, piece) || bytes.Contains(b, first)) {
			r.t.Errorf("%s: plaintext in %s", name, path)
		}
		return nil
	})
	r.check(err)
}
