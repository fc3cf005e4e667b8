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
	"secmsg/rpc/local/place"
)

// tempPrefix begins the hidden names of partial files.
const tempPrefix = ".secmsg-part-"

// target is the destination of a download, as stored in its row: a later daemon continues
// from it.
type target struct {
	Dir string `json:"dir"`
	// Device and Directory (its inode) identify the directory Dir. If Dir leads to another
	// directory later, for example through a link, the download is not continued there.
	Device    uint64 `json:"device,omitempty"`
	Directory uint64 `json:"directory,omitempty"`
	Name      string `json:"name"`  // wanted name
	Temp      string `json:"temp"`  // name in Dir of the partial file
	Exact     bool   `json:"exact"` // Name must not be numbered
	Overwrite bool   `json:"overwrite,omitempty"`
	// Final is the name that the complete file is about to get.
	Final string `json:"final,omitempty"`
	// Inode identifies the partial file.
	Inode uint64 `json:"inode,omitempty"`
	// Parts is the number of durable parts in Temp; Digest is the state of the blob's
	// digest after them.
	Parts  int    `json:"parts"`
	Digest []byte `json:"digest,omitempty"`
}

// where is the destination that a caller asked for.
type where struct {
	path      string // of an existing directory, or of a file
	overwrite bool
	// device and inode of the directory as the caller sees it; inode 0: not given.
	device, inode uint64
	// own says that path is a configured directory, which may be a link.
	own bool
}

var (
	// errElsewhere says that the daemon sees another directory than the caller.
	errElsewhere = errors.New("it is a different directory for the daemon than for you")
	// errMoved says that a directory was moved or replaced after it was opened.
	errMoved = errors.New("the directory was moved or replaced during the transfer")
)

// chooseTarget decides where a file goes and opens that directory, once: all later
// operations use the open directory, whatever its path leads to by then. An existing file
// is replaced only with overwrite. The caller closes the root.
func chooseTarget(w where, name string) (t target, root *os.Root, err error) {
	if !filepath.IsAbs(w.path) {
		return t, nil, local.Errorf(local.CodeUsage, "the path %q is not absolute", w.path)
	}
	t = target{Dir: filepath.Clean(w.path), Name: SafeName(name), Temp: tempPrefix + rand.Text(), Overwrite: w.overwrite}
	asFile := false
	root, err = os.OpenRoot(w.path)
	switch {
	case err == nil:
		t.Exact = w.overwrite
	case errors.Is(err, fs.ErrPermission), strings.HasSuffix(w.path, string(filepath.Separator)):
		return t, nil, w.unopened(w.path, err)
	default:
		// Not a directory: path names a file in one.
		asFile = true
		t.Dir, t.Name, t.Exact = filepath.Dir(t.Dir), filepath.Base(t.Dir), true
		if root, err = os.OpenRoot(t.Dir); err != nil {
			return t, nil, w.unopened(t.Dir, err)
		}
	}
	if err := t.check(root, w, asFile); err != nil {
		return t, nil, errors.Join(err, root.Close())
	}
	return t, root, nil
}

// unopened returns the error for a directory that cannot be opened. If the caller sees one
// there, the daemon sees another file system.
func (w where) unopened(path string, err error) error {
	told := local.Errorf(local.CodeUsage, "%s: no such directory", path)
	if errors.Is(err, fs.ErrPermission) {
		told = writeError(path, err)
	}
	if w.inode != 0 {
		err = errors.Join(err, errElsewhere)
	}
	return fmt.Errorf("%w (%w)", told, err)
}

// check records which directory root is, and checks what exists under the name.
func (t *target) check(root *os.Root, w where, asFile bool) (err error) {
	if t.Device, t.Directory, err = identityOf(root); err != nil {
		return writeError(t.Dir, err)
	}
	if w.inode != 0 {
		if t.Device != w.device || t.Directory != w.inode {
			return fmt.Errorf("%w (%w)", local.Errorf(local.CodeUsage, "%s: %v", t.Dir, errElsewhere), errElsewhere)
		}
	} else if !w.own && !asFile {
		// The caller did not identify the directory. Then the path must not be a link,
		// which somebody may have just put there.
		info, err := os.Lstat(t.Dir)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return local.Errorf(local.CodeUsage, "%s is a symbolic link to a directory: name the directory itself, or its device and inode", t.Dir)
		}
		if err != nil || !t.leadsTo() {
			return moved(t.Dir)
		}
	}
	if !t.Exact {
		return nil
	}
	at := filepath.Join(t.Dir, t.Name)
	info, err := root.Lstat(t.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return sourceError(at, err)
	case info.IsDir():
		return local.Errorf(local.CodeUsage, "%s is a directory", at)
	case !t.Overwrite:
		return exists(at)
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return local.Errorf(local.CodeUsage, "%s is not a regular file", at)
	}
	return nil
}

// identityOf identifies the directory of a root.
func identityOf(root *os.Root) (device, inode uint64, err error) {
	d, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	device, inode, err = local.FileIdentity(d)
	return device, inode, errors.Join(err, d.Close())
}

// leadsTo reports whether the path still leads to the opened directory.
func (t *target) leadsTo() bool {
	device, inode, err := local.PathIdentity(t.Dir)
	return err == nil && device == t.Device && inode == t.Directory
}

func moved(path string) *local.Error {
	return local.Errorf(local.CodeIO, "%s: %v; nothing was saved", path, errMoved)
}

func exists(path string) *local.Error {
	return local.Errorf(local.CodeUsage, "%s exists", path).WithHint("choose another path, or replace the file with --force")
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

// same reports whether two downloads of a file have the same destination, in the same
// directory.
func (t *target) same(o target) bool {
	return t.samePath(o) && t.Device == o.Device && t.Directory == o.Directory
}

// samePath is like same, but compares only the path of the directory, not its identity.
func (t *target) samePath(o target) bool {
	return t.Dir == o.Dir && t.Name == o.Name && t.Exact == o.Exact && t.Overwrite == o.Overwrite
}

// reopen opens the directory of an earlier try. It fails with errMoved if the path leads to
// another directory now.
func (t *target) reopen() (*os.Root, error) {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, err
	}
	device, inode, err := identityOf(root)
	if err == nil && (device != t.Device || inode != t.Directory) {
		err = errMoved
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// open creates the partial file. With resume it opens the existing one, if an earlier try
// of this download created it.
func (t *target) open(root *os.Root, resume bool) (*os.File, error) {
	flags := os.O_RDWR
	if !resume {
		flags |= os.O_CREATE | os.O_EXCL
	} else if err := t.mine(root, t.Temp); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(t.Temp, flags, place.Mode)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", writeError(t.Dir, err), err)
	}
	_, inode, err := local.FileIdentity(f)
	if err == nil && resume && inode != t.Inode {
		err = fs.ErrNotExist // replaced after the check
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.Inode = inode
	if info, err := f.Stat(); err == nil && info.Mode().Perm() != place.Mode {
		_ = f.Chmod(place.Mode) // umask cleared bits; some file systems have no modes
	}
	return f, nil
}

// mine fails with fs.ErrNotExist unless name in root is the file that this download
// created.
func (t *target) mine(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	f, err := root.Open(name)
	if err != nil {
		return fs.ErrNotExist
	}
	_, inode, err := local.FileIdentity(f)
	if err := errors.Join(err, f.Close()); err != nil || inode != t.Inode {
		return fs.ErrNotExist
	}
	return nil
}

// place renames the complete file to Final, or to a numbered name if that is taken and
// Exact is not set. The caller syncs the directory. It fails with fs.ErrExist if the name
// is taken, or with errMoved if somebody replaced the temporary file.
func (t *target) place(root *os.Root) (err error) {
	if err := t.mine(root, t.Temp); err != nil {
		return errMoved
	}
	switch {
	case t.Overwrite:
		err = root.Rename(t.Temp, t.Final)
	case t.Exact:
		err = place.Exact(root, t.Temp, t.Final)
	default:
		t.Final, err = place.Numbered(root, t.Temp, t.Name)
	}
	if err == nil && t.mine(root, t.Final) != nil {
		return errMoved
	}
	return err
}

// placed reports whether an earlier daemon renamed the file, of size bytes, to its final
// name, and ended before it recorded that.
func (t *target) placed(root *os.Root, size int64) bool {
	if t.Final == "" || t.mine(root, t.Final) != nil {
		return false
	}
	info, err := root.Lstat(t.Final)
	if err != nil || info.Size() != size {
		return false
	}
	temp, err := root.Lstat(t.Temp)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && os.SameFile(info, temp) && root.Remove(t.Temp) == nil
}

// remove removes the partial file.
func (t *target) remove(root *os.Root) error {
	if err := root.Remove(t.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeError returns the error for a destination that cannot be written.
func writeError(path string, err error) *local.Error {
	switch {
	case isFull(err):
		return local.Errorf(local.CodeDiskFull, "no space left for %s", path)
	case errors.Is(err, fs.ErrPermission):
		return local.Errorf(local.CodeUsage, "%s: permission denied", path)
	case errors.Is(err, fs.ErrNotExist):
		return local.Errorf(local.CodeUsage, "the directory of %s does not exist", path)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return local.Errorf(local.CodeIO, "cannot write %s: %v", path, err)
}

// row returns the download's row.
func (t *target) row(account store.AccountID, file store.MessageID, now int64) (*store.Transfer, error) {
	body, err := t.encode()
	return &store.Transfer{Account: account, Kind: store.TransferDownload, File: file, CreatedMS: now, Body: body}, err
}
