// Package place gives a received file its name. The daemon uses it, and the command line where the
// daemon cannot write. Everything happens inside an open directory (os.Root), so that nothing outside
// of it is touched even if the directory is renamed or replaced meanwhile. The package keeps no state.
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
	// maxExtension bounds the length of an extension, with its dot, that survives when a name is cut,
	// so that a file keeps its type.
	maxExtension = 16
	// MaxSameName bounds the files of one name in a directory.
	MaxSameName = 999
	// maxFileName is the longest name that common file systems accept, in bytes.
	maxFileName = 255
	// Mode is the mode of a received file: private, never executable.
	Mode = 0o600
)

// ErrNamesUsed means that a name and all its numbered forms are taken.
var ErrNamesUsed = errors.New("too many files of this name")

// Unique creates a new file in root, open for reading and writing with mode 0600, and returns it with
// its name: name itself or, if that is taken, "name (1).ext" and so on. It neither opens nor changes
// existing entries of root, and follows no symbolic link (O_EXCL). name must be one path element, as
// [SafeName] makes it; otherwise the error is [fs.ErrInvalid]. The caller closes the file. After 999
// numbers it returns [ErrNamesUsed].
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

// Numbered gives the complete file temp, a name in root, its final name: name itself or, if that is
// taken, a numbered form as in [Unique]. It overwrites nothing, and no incomplete file ever has the
// final name. It returns the file's new name; after an error the file still has its old name. The
// caller syncs the directory.
func Numbered(root *os.Root, temp, name string) (string, error) {
	return place(root, temp, name, root.Link)
}

// place is Numbered with the call that creates a hard link, which some file systems do not support.
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
	// A file system without hard links: an empty file takes the name, and the complete file then
	// replaces it.
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

// FirstFree calls try for name and its numbered forms until one is free, and returns that one.
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

// Name returns "stem (n).ext", cut to the length that file systems accept; for n = 0 it returns the
// name.
func Name(name string, n int) string {
	if n == 0 {
		return name
	}
	stem, ext := SplitName(name)
	suffix := fmt.Sprintf(" (%d)%s", n, ext)
	return CutRunes(stem, maxFileName-len(suffix)) + suffix
}

// Exact gives the complete file temp, a name in root, a name that must be free. If it is not, the error
// is [fs.ErrExist], and the file keeps its old name.
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

// SplitName splits a name into stem and extension. The extension includes its dot; it is empty if there
// is none or if it is too long to be one. The extension of a compressed archive, such as .tar.gz,
// counts as one.
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

// CutRunes cuts s to at most limit bytes, not inside a character and not so that it ends with a dot or
// a space.
func CutRunes(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.TrimRight(s[:limit], ". ")
}
