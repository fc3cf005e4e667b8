package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// maxSameName bounds how many files of one name a directory takes.
	maxSameName = 999
	// maxFileName is what common file systems take for a name, in bytes.
	maxFileName = 255
	// fileMode is the mode of a file that was received: nobody else's, never executable.
	fileMode = 0o600
)

// ErrNamesUsed says that a name and all its numbered forms are taken.
var ErrNamesUsed = errors.New("too many files of this name")

// Unique creates a new file in root, open for reading and writing with mode
// 0600, and returns it with its name: name itself or, while that is taken,
// "name (1).ext" and so on. What stands in root is neither opened nor changed,
// and no symbolic link is followed (O_EXCL). name is one path element, as
// [SafeName] makes it; else the error is [fs.ErrInvalid]. The caller closes the
// file. It fails with [ErrNamesUsed] after 999 numbers.
func Unique(root *os.Root, name string) (*os.File, string, error) {
	var f *os.File
	used, err := firstFree(name, func(candidate string) (err error) {
		f, err = root.OpenFile(candidate, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("create file: %w", err)
	}
	return f, used, nil
}

// Place gives the whole file temp, a name in root, its final name: name itself
// or, while that is taken, a numbered form as in [Unique]. It overwrites
// nothing, and no file ever stands under the name in part. It returns the name
// that the file has now; after an error it still has the old one. The caller
// syncs the directory.
func Place(root *os.Root, temp, name string) (string, error) {
	return place(root, temp, name, root.Link)
}

// place is Place with the call that makes a hard link, which not every file
// system can.
func place(root *os.Root, temp, name string, link func(from, to string) error) (string, error) {
	used, err := firstFree(name, func(candidate string) error { return link(temp, candidate) })
	switch {
	case err == nil:
		if err := root.Remove(temp); err != nil {
			return "", errors.Join(fmt.Errorf("place file: %w", err), root.Remove(used))
		}
		return used, nil
	case errors.Is(err, ErrNamesUsed), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return "", fmt.Errorf("place file: %w", err)
	}
	// A file system without hard links: the name is taken by an empty file, which
	// the whole one then replaces.
	f, used, err := Unique(root, name)
	if err != nil {
		return "", fmt.Errorf("place file: %w", err)
	}
	err = f.Close()
	if err == nil {
		err = root.Rename(temp, used)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("place file: %w", err), root.Remove(used))
	}
	return used, nil
}

// firstFree calls try for name and its numbered forms until one is not taken,
// and returns that one.
func firstFree(name string, try func(candidate string) error) (string, error) {
	if name == "." || name == ".." || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("%q is not one path element: %w", name, fs.ErrInvalid)
	}
	for n := range maxSameName + 1 {
		candidate := numbered(name, n)
		err := try(candidate)
		if err == nil {
			return candidate, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", ErrNamesUsed
}

// numbered returns "stem (n).ext", cut to what a file system takes; for 0 the name.
func numbered(name string, n int) string {
	if n == 0 {
		return name
	}
	stem, ext := splitName(name)
	suffix := fmt.Sprintf(" (%d)%s", n, ext)
	return cutRunes(stem, maxFileName-len(suffix)) + suffix
}
