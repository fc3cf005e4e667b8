// Package durable makes names of files survive a loss of power. Syncing a file
// makes its content durable; the name that was created or renamed for it lives
// in the directory, which has to be synced as well.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// SyncDir makes the names in a directory durable. Windows has no such call: its
// file systems log changes of names themselves.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// MkdirAll is os.MkdirAll whose new directories survive a loss of power.
func MkdirAll(dir string, mode fs.FileMode) error {
	fresh, err := missing(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	for _, d := range fresh {
		if err := SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// missing returns dir and those of its parents that are not there, the outermost first.
func missing(dir string) ([]string, error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dir = filepath.Clean(dir)
	up := filepath.Dir(dir)
	if up == dir {
		return []string{dir}, nil
	}
	above, err := missing(up)
	return append(above, dir), err
}

// Rename is os.Rename whose result survives a loss of power: from and to are in
// the same directory.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}
