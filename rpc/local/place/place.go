// Package place gives a file that was received its name: the daemon uses it, and
// the command line where the daemon cannot write. Everything happens inside an
// open directory (os.Root), so that nothing outside it is touched, whatever its
// names become meanwhile. It keeps no state.
package place

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const (
	// maxExtension bounds an extension, with its dot, that is kept when a name
	// is cut, so that a file stays what it is.
	maxExtension = 16
	// MaxSameName bounds how many files of one name a directory takes.
	MaxSameName = 999
	// maxFileName is what common file systems take for a name, in bytes.
	maxFileName = 255
	// Mode is the mode of a file that was received: nobody else's, never executable.
	Mode = 0o600
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
	used, err := FirstFree(name, func(candidate string) (err error) {
		f, err = root.OpenFile(candidate, os.O_RDWR|os.O_CREATE|os.O_EXCL, Mode)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("create file: %w", err)
	}
	return f, used, nil
}

// Numbered gives the whole file temp, a name in root, its final name: name itself
// or, while that is taken, a numbered form as in [Unique]. It overwrites
// nothing, and no file ever stands under the name in part. It returns the name
// that the file has now; after an error it still has the old one. The caller
// syncs the directory.
func Numbered(root *os.Root, temp, name string) (string, error) {
	return place(root, temp, name, root.Link)
}

// place is Numbered with the call that makes a hard link, which not every file
// system can.
func place(root *os.Root, temp, name string, link func(from, to string) error) (string, error) {
	used, err := FirstFree(name, func(candidate string) error { return link(temp, candidate) })
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

// FirstFree calls try for name and its numbered forms until one is not taken,
// and returns that one.
func FirstFree(name string, try func(candidate string) error) (string, error) {
	if name == "." || name == ".." || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("%q is not one path element: %w", name, fs.ErrInvalid)
	}
	for n := range MaxSameName + 1 {
		candidate := Name(name, n)
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

// Name returns "stem (n).ext", cut to what a file system takes; for 0 the name.
func Name(name string, n int) string {
	if n == 0 {
		return name
	}
	stem, ext := SplitName(name)
	suffix := fmt.Sprintf(" (%d)%s", n, ext)
	return CutRunes(stem, maxFileName-len(suffix)) + suffix
}

// Exact gives the whole file temp, a name in root, a name that must be free; else
// the error is [fs.ErrExist], and the file still has the old one.
func Exact(root *os.Root, temp, name string) error {
	err := root.Link(temp, name)
	if err == nil {
		return root.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A file system without hard links: an empty file takes the name first.
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, Mode)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), root.Rename(temp, name)); err != nil {
		return errors.Join(err, root.Remove(name))
	}
	return nil
}

// SyncDir makes the names of a directory durable.
func SyncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// SplitName cuts a name into what stands before its extension and the extension
// with its dot, which is empty if there is none or it is too long to be one.
// The extension of an archive counts as one: .tar.gz.
func SplitName(name string) (stem, ext string) {
	ext = path.Ext(name)
	if len(ext) <= 1 || len(ext) > maxExtension || len(ext) == len(name) {
		return name, ""
	}
	stem = name[:len(name)-len(ext)]
	if archive := strings.TrimSuffix(stem, ".tar"); archive != stem && archive != "" && len(ext)+len(".tar") <= maxExtension {
		return archive, ".tar" + ext
	}
	return stem, ext
}

// CutRunes cuts s to at most limit bytes, not inside a character and not so that
// it ends with a dot or a space.
func CutRunes(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.TrimRight(s[:limit], ". ")
}
