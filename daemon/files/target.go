package files

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// tempPrefix begins the hidden names of files that are not whole yet.
const tempPrefix = ".secmsg-part-"

// target is where a download goes, as it stands in the store: what a daemon
// that was killed goes on with.
type target struct {
	Dir       string `json:"dir"`
	Name      string `json:"name"`  // that is wanted
	Temp      string `json:"temp"`  // in Dir, until the file is whole
	Exact     bool   `json:"exact"` // no numbered form of Name will do
	Overwrite bool   `json:"overwrite,omitempty"`
	// Final is the name that the whole file is about to get.
	Final string `json:"final,omitempty"`
	// Inode tells the whole file from another one that has its name and size.
	Inode uint64 `json:"inode,omitempty"`
	// Parts are durable in Temp; Digest is the state of the blob's digest behind them.
	Parts  int    `json:"parts"`
	Digest []byte `json:"digest,omitempty"`
}

// chooseTarget says where a file goes: path is a directory that is there, or a
// file. An existing file is never replaced unless overwrite says so.
func chooseTarget(path, name string, overwrite bool) (target, error) {
	if !filepath.IsAbs(path) {
		return target{}, local.Errorf(local.CodeUsage, "the path of a file must be absolute: %q", path)
	}
	t := target{Dir: path, Name: SafeName(name), Temp: tempPrefix + rand.Text(), Overwrite: overwrite}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		if !overwrite {
			return t, nil
		}
		t.Exact = true
	case strings.HasSuffix(path, string(filepath.Separator)):
		return t, local.Errorf(local.CodeUsage, "there is no directory %s", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return t, sourceError(path, err)
	default:
		t.Dir, t.Name, t.Exact = filepath.Dir(path), filepath.Base(path), true
	}
	at := filepath.Join(t.Dir, t.Name)
	info, err = os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return t, sourceError(at, err)
	case info.IsDir():
		return t, local.Errorf(local.CodeUsage, "%s is a directory", at)
	case !overwrite:
		return t, exists(at)
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return t, local.Errorf(local.CodeUsage, "%s is not a regular file", at)
	}
	if info, err = os.Stat(t.Dir); err != nil || !info.IsDir() {
		return t, local.Errorf(local.CodeUsage, "there is no directory %s", t.Dir)
	}
	return t, nil
}

func exists(path string) *local.Error {
	return local.Errorf(local.CodeUsage, "%s exists", path).WithHint("another path, or --force")
}

func (t *target) encode() ([]byte, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode download: %w", err)
	}
	return b, nil
}

func decodeTarget(b []byte) (target, error) {
	var t target
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("decode download: %w", err)
	}
	return t, nil
}

// same reports whether two downloads of a file want the same.
func (t *target) same(o target) bool {
	return t.Dir == o.Dir && t.Name == o.Name && t.Exact == o.Exact && t.Overwrite == o.Overwrite
}

// open opens the directory and the file that is not whole yet; with resume the
// one that is there. Nothing outside the directory is touched.
func (t *target) open(resume bool) (*os.Root, *os.File, error) {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, nil, writeError(t.Dir, err)
	}
	flags := os.O_RDWR
	if !resume {
		flags |= os.O_CREATE | os.O_EXCL
	} else if info, err := root.Lstat(t.Temp); err != nil || !info.Mode().IsRegular() {
		return nil, nil, errors.Join(fs.ErrNotExist, root.Close())
	}
	f, err := root.OpenFile(t.Temp, flags, fileMode)
	if err != nil {
		return nil, nil, errors.Join(writeError(t.Dir, err), root.Close())
	}
	return root, f, nil
}

// place gives the whole file the name Final, or a numbered one if that was taken
// meanwhile and one will do. The caller syncs the directory. The error is
// fs.ErrExist if the name is taken.
func (t *target) place(root *os.Root) (err error) {
	switch {
	case t.Overwrite:
		return root.Rename(t.Temp, t.Final)
	case t.Exact:
		return placeExact(root, t.Temp, t.Final)
	}
	t.Final, err = Place(root, t.Temp, t.Name)
	return err
}

// placeExact gives temp a name that must be free.
func placeExact(root *os.Root, temp, name string) error {
	err := root.Link(temp, name)
	if err == nil {
		return root.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A file system without hard links: an empty file takes the name first.
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), root.Rename(temp, name)); err != nil {
		return errors.Join(err, root.Remove(name))
	}
	return nil
}

// placed reports whether an earlier daemon has already given the file, of size
// bytes, its final name, and ended before it could say so.
func (t *target) placed(size int64) bool {
	if t.Final == "" {
		return false
	}
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return false
	}
	defer root.Close()
	info, err := root.Lstat(t.Final)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	if _, inode := inodeOf(info); inode != t.Inode {
		return false
	}
	temp, err := root.Lstat(t.Temp)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && os.SameFile(info, temp) && root.Remove(t.Temp) == nil
}

// remove removes the file that is not whole.
func (t *target) remove() error {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(t.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// writeError is what a caller is told of a target that cannot be written.
func writeError(path string, err error) *local.Error {
	switch {
	case isFull(err):
		return local.Errorf(local.CodeDiskFull, "no space left where %s is to go", path)
	case errors.Is(err, fs.ErrPermission):
		return local.Errorf(local.CodeUsage, "%s may not be written", path)
	case errors.Is(err, fs.ErrNotExist):
		return local.Errorf(local.CodeUsage, "there is no directory for %s", path)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return local.Errorf(local.CodeIO, "%s cannot be written: %v", path, err)
}

// download is a row of the store.
func (t *target) row(account store.AccountID, file store.MessageID, now int64) (*store.Transfer, error) {
	body, err := t.encode()
	return &store.Transfer{Account: account, Kind: store.TransferDownload, File: file, CreatedMS: now, Body: body}, err
}
