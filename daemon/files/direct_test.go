package files

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
)

// For any offset, length and alignment in memory, the file contains what was written, and
// the bytes around it are unchanged.
func TestDirectWritesAnyPiece(t *testing.T) {
	const size = 1 << 20
	content := make([]byte, size+1)
	rand.Read(content)
	for _, tt := range []struct {
		name          string
		shift         int // offset of the buffer from a page boundary
		offset, bytes int
	}{
		{"pages", 0, 0, size},
		{"pages behind others", 0, 3 * directAlign, 8 * directAlign},
		{"a tail", 0, 0, size - 1},
		{"less than a page", 0, 0, directAlign - 1},
		{"one page and a byte", 0, directAlign, directAlign + 1},
		{"nothing", 0, 0, 0},
		{"between pages", 0, 17, 4 * directAlign},
		{"memory between pages", 1, 0, 4*directAlign + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := bytes.Repeat([]byte{7}, size)
			f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(want); err != nil {
				t.Fatal(err)
			}
			d := direct{f: f}
			piece := content[tt.shift : tt.shift+tt.bytes]
			for range 2 { // the second write uses what the first one learned about the file system
				n, err := d.WriteAt(piece, int64(tt.offset))
				if err != nil || n != len(piece) {
					t.Fatalf("wrote %d of %d bytes: %v", n, len(piece), err)
				}
			}
			copy(want[tt.offset:], piece)
			got, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Error("the file holds something else")
			}
		})
	}
}

func TestDirectReportsErrors(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	d := direct{f: f}
	if _, err := d.WriteAt(make([]byte, 2*directAlign), 0); err == nil {
		t.Error("a write to a closed file succeeded")
	}
}
