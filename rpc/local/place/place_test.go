package place

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func read(t *testing.T, root *os.Root, name string) string {
	t.Helper()
	b, err := root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// D7: if many files of one name arrive at once, all are kept, each under its own name.
func TestUniqueD7(t *testing.T) {
	root := openRoot(t)
	if err := root.WriteFile("a.tar.gz", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	const n = 20
	names := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			f, name, err := Unique(root, "a.tar.gz")
			if err != nil {
				t.Error(err)
				return
			}
			_, err = fmt.Fprint(f, i)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Error(err)
			}
			names[i] = name
		})
	}
	wg.Wait()
	for i, name := range names {
		if got := read(t, root, name); got != fmt.Sprint(i) {
			t.Errorf("%s has %q, want %d", name, got, i)
		}
	}
	if read(t, root, "a.tar.gz") != "old" {
		t.Error("a file was overwritten")
	}
	info, err := root.Stat("a (1).tar.gz")
	if err != nil || info.Mode() != Mode {
		t.Errorf("mode %v, %v", info, err)
	}
}

// D7: Numbered never overwrites, and every file is complete under its name, with and without hard
// links.
func TestPlaceD7(t *testing.T) {
	t.Run("links", func(t *testing.T) { testPlace(t, (*os.Root).Link) })
	t.Run("no links", func(t *testing.T) {
		testPlace(t, func(*os.Root, string, string) error { return errors.ErrUnsupported })
	})
}

func testPlace(t *testing.T, link func(*os.Root, string, string) error) {
	root := openRoot(t)
	place := func(temp, name string) (string, error) {
		return place(root, temp, name, func(from, to string) error { return link(root, from, to) })
	}
	const n = 10
	var wg sync.WaitGroup
	for i := range n {
		temp := fmt.Sprintf("temp%d", i)
		if err := root.WriteFile(temp, []byte(temp), Mode); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			name, err := place(temp, "report.pdf")
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := root.ReadFile(name); err != nil || string(got) != temp {
				t.Errorf("%s has %q, %v; want %q", name, got, err, temp)
			}
		})
	}
	wg.Wait()
	dir, err := root.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil || len(entries) != n {
		t.Errorf("%d files, %v; want %d and no temporary one", len(entries), err, n)
	}
	if _, err := place("missing", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("place a missing file: %v", err)
	}
	if _, err := root.Lstat("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a name was used although no file was placed")
	}
}

// D5, D7: links, directories and paths with the wanted name are not followed.
func TestUniqueFollowsNothing(t *testing.T) {
	root := openRoot(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Symlink(outside, filepath.Join(root.Name(), "out")); err != nil {
		t.Fatal(err)
	}
	if err := root.Symlink("inside", "in"); err != nil {
		t.Fatal(err)
	}
	if err := root.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out", "in", "dir"} {
		f, used, err := Unique(root, name)
		if err != nil || used != name+" (1)" {
			t.Errorf("%s: %q, %v", name, used, err)
			continue
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if used, err = Numbered(root, used, name); err != nil || used != name+" (1)" && used != name+" (2)" {
			t.Errorf("%s: placed as %q, %v", name, used, err)
		}
	}
	for _, path := range []string{outside, filepath.Join(root.Name(), "inside")} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a link was followed to %s", path)
		}
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/x", "a/"} {
		if _, _, err := Unique(root, name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", name, err)
		}
		if _, err := Numbered(root, "in", name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("place %q: %v, want ErrInvalid", name, err)
		}
	}
}

func TestUniqueIsBounded(t *testing.T) {
	tries := 0
	_, err := FirstFree("x", func(string) error { tries++; return fs.ErrExist })
	if !errors.Is(err, ErrNamesUsed) || tries != MaxSameName+1 {
		t.Errorf("%d tries, %v", tries, err)
	}
	_, err = FirstFree("x", func(string) error { return io.ErrShortWrite })
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("another error: %v", err)
	}
	for _, v := range []struct {
		name string
		want string
	}{{"a.txt", "a (7).txt"}, {"a", "a (7)"}, {"a.tar.gz", "a (7).tar.gz"}, {"a.b.c", "a.b (7).c"}, {"a.tar", "a (7).tar"}} {
		if got := Name(v.name, 7); got != v.want {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
	}
}
