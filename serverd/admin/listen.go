package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
)

// maxSocketPath is what sockaddr_un holds on the systems we run on, less the NUL (108 on Linux, 104 elsewhere).
const maxSocketPath = 103

// Listen opens the admin socket at path, in a directory that only its owner may
// enter. A socket that a dead server left is replaced: the caller holds the
// directory's lock. Connections of other uids are closed at once.
func Listen(path string, logger *slog.Logger) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket: the path %s is over %d bytes long; use a shorter data directory", path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	// Nobody else can connect in between: the directory is 0700.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return &ownerListener{UnixListener: l, uid: uint32(os.Getuid()), logger: logger}, nil
}

// ownerListener accepts connections of one uid, and root.
type ownerListener struct {
	*net.UnixListener
	uid    uint32
	logger *slog.Logger
}

// Accept waits for the next connection that is allowed.
func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && (uid == l.uid || uid == 0) {
			return c, nil
		}
		l.logger.Warn("admin socket: connection refused", "uid", uid, "error", err)
		_ = c.Close() // refused either way
	}
}
