package localapi

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	dirMode    fs.FileMode = 0o700
	socketMode fs.FileMode = 0o600
	// probeTimeout bounds the check whether a process answers on a socket.
	probeTimeout = time.Second
	// newSuffix is short because a socket's path is limited (108 bytes on Linux, 104 on
	// macOS).
	newSuffix = ".n"
)

// ErrInUse says that another daemon answers on the socket.
var ErrInUse = errors.New("another daemon is listening on the socket")

// Listen creates the socket at path with mode 0600, in a directory with mode 0700 that it
// creates if needed. It rejects a directory or socket that belongs to another user or is a
// symbolic link of another user, and a directory that other users may enter. It replaces a
// socket on which nothing answers, and fails with ErrInUse if something does. Callers hold
// the profile's lock, so two of them never race here.
func Listen(path string) (net.Listener, error) {
	if err := prepareDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := checkStale(path); err != nil {
		return nil, err
	}
	// Create the socket under another name, and rename it when its mode is set.
	fresh := path + newSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, socketMode), os.Rename(fresh, path)); err != nil {
		_ = ln.Close()
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("make socket: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("make socket: %w", err)
	}
	return &listener{UnixListener: ln, path: path, info: info}, nil
}

// listener removes its socket when it is closed, unless that was replaced.
type listener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

// Addr returns the path at which clients find the socket.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// prepareDir creates the socket's directory, or checks the existing one.
func prepareDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return fmt.Errorf("make directory of the socket: %w", err)
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory of the socket: %w", err)
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check directory of the socket: %w", err)
	}
	if !owned(link) {
		return fmt.Errorf("directory %s of the socket belongs to another user", dir)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("check directory of the socket: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case !owned(info):
		return fmt.Errorf("directory %s of the socket belongs to another user", dir)
	case openToOthers(info):
		return fmt.Errorf("directory %s of the socket is open to other users (mode %04o); fix it with chmod 700", dir, info.Mode().Perm())
	}
	return nil
}

// checkStale returns nil if there is nothing at path, or a socket of this user on which
// nothing answers.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("check socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	case !owned(info):
		return fmt.Errorf("socket %s belongs to another user", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%w %s", ErrInUse, path)
	}
	return nil
}
