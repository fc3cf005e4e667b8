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

// tempPrefix begins the hidden names of files that are not whole yet.
const tempPrefix = ".secmsg-part-"

// target is where a download goes, as it stands in the store: what a daemon
// that was killed goes on with.
type target struct {
	Dir string `json:"dir"`
	// Device and Directory (its inode) tell which directory Dir was when the
	// download began. Another one, a link for example, is not used to go on.
	Device    uint64 `json:"device,omitempty"`
	Directory uint64 `json:"directory,omitempty"`
	Name      string `json:"name"`  // that is wanted
	Temp      string `json:"temp"`  // in Dir, until the file is whole
	Exact     bool   `json:"exact"` // no numbered form of Name will do
	Overwrite bool   `json:"overwrite,omitempty"`
	// Final is the name that the whole file is about to get.
	Final string `json:"final,omitempty"`
	// Inode tells the file from another one under its name.
	Inode uint64 `json:"inode,omitempty"`
	// Parts are durable in Temp; Digest is the state of the blob's digest behind them.
	Parts  int    `json:"parts"`
	Digest []byte `json:"digest,omitempty"`
}

// where is what a caller says of the place for a file.
type where struct {
	path      string // of a directory that is there, or of a file
	overwrite bool
	// Device and inode of the directory that path leads to, as the caller sees it;
	// inode 0: not said.
	device, inode uint64
	// own says that path is a directory of the configuration, which may be a link.
	own bool
}

var (
	// errElsewhere says that the daemon finds another directory than the caller.
	errElsewhere = errors.New("it is another directory for the daemon than for you")
	// errMoved says that a directory is not where it was when it was opened.
	errMoved = errors.New("the directory was moved or replaced meanwhile")
)

// chooseTarget says where a file goes, and opens that directory, once: everything
// that follows happens in it, whatever its path leads to later. An existing file
// is never replaced unless overwrite says so. The caller closes the root.
func chooseTarget(w where, name string) (t target, root *os.Root, err error) {
	if !filepath.IsAbs(w.path) {
		return t, nil, local.Errorf(local.CodeUsage, "the path of a file must be absolute: %q", w.path)
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
		// It is no directory: then it is to be a file in one.
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

// unopened is what a caller is told of a directory that cannot be opened. One that
// the caller sees is another one for the daemon, or hidden from it.
func (w where) unopened(path string, err error) error {
	told := local.Errorf(local.CodeUsage, "there is no directory %s", path)
	if errors.Is(err, fs.ErrPermission) {
		told = writeError(path, err)
	}
	if w.inode != 0 {
		err = errors.Join(err, errElsewhere)
	}
	return fmt.Errorf("%w (%w)", told, err)
}

// check notes which directory root is, and looks at what stands under the name.
func (t *target) check(root *os.Root, w where, asFile bool) (err error) {
	if t.Device, t.Directory, err = identityOf(root); err != nil {
		return writeError(t.Dir, err)
	}
	if w.inode != 0 {
		if t.Device != w.device || t.Directory != w.inode {
			return fmt.Errorf("%w (%w)", local.Errorf(local.CodeUsage, "%s: %v", t.Dir, errElsewhere), errElsewhere)
		}
	} else if !w.own && !asFile {
		// Nobody has said which directory is meant: then the path must not be a link
		// to one, which may have taken its place just now.
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

// identityOf says which directory a root is.
func identityOf(root *os.Root) (device, inode uint64, err error) {
	d, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	device, inode, err = local.FileIdentity(d)
	return device, inode, errors.Join(err, d.Close())
}

// leadsTo reports whether the path still leads to the directory that was opened.
func (t *target) leadsTo() bool {
	device, inode, err := local.PathIdentity(t.Dir)
	return err == nil && device == t.Device && inode == t.Directory
}

func moved(path string) *local.Error {
	return local.Errorf(local.CodeIO, "%s: %v; nothing was saved", path, errMoved)
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

// same reports whether two downloads of a file want the same, in the same directory.
func (t *target) same(o target) bool {
	return t.likewise(o) && t.Device == o.Device && t.Directory == o.Directory
}

// likewise is same but for which directory it is that stands under the path.
func (t *target) likewise(o target) bool {
	return t.Dir == o.Dir && t.Name == o.Name && t.Exact == o.Exact && t.Overwrite == o.Overwrite
}

// reopen opens the directory of a download that an earlier try has begun:
// errMoved if its path leads elsewhere now.
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

// open opens the file that is not whole yet; with resume the one that is there,
// if that is the one which an earlier try has made.
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
		err = fs.ErrNotExist // a link has taken its place just now
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.Inode = inode
	if info, err := f.Stat(); err == nil && info.Mode().Perm() != place.Mode {
		_ = f.Chmod(place.Mode) // a umask took something; some file systems have no modes
	}
	return f, nil
}

// mine fails with fs.ErrNotExist unless the name in root is the file that this
// download has made.
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

// place gives the whole file the name Final, or a numbered one if that was taken
// meanwhile and one will do. The caller syncs the directory. The error is
// fs.ErrExist if the name is taken, or errMoved if somebody has put another file
// in the place of the temporary one.
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

// placed reports whether an earlier daemon has already given the file, of size
// bytes, its final name, and ended before it could say so.
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

// remove removes the file that is not whole.
func (t *target) remove(root *os.Root) error {
	if err := root.Remove(t.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
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
