package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"secmsg/rpc/unixpeer"
)

// maxSocketPath is the longest path that fits into a sockaddr_un on the systems we support, without the
// NUL (108 bytes on Linux, 104 elsewhere).
const maxSocketPath = 103

// Listen opens the admin socket at path, in a directory that only its owner may enter. It replaces the
// socket of a dead server: the caller holds the directory's lock. Connections from other uids are
// closed at once.
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
	// Nobody else can connect before this: the directory has mode 0700.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return &ownerListener{UnixListener: l, uid: os.Getuid(), logger: logger}, nil
}

// ownerListener accepts connections from one uid and from root.
type ownerListener struct {
	*net.UnixListener
	uid    int
	logger *slog.Logger
}

// Accept waits for the next permitted connection.
func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := unixpeer.UID(c)
		if err == nil && (uid == l.uid || uid == 0) {
			return c, nil
		}
		l.logger.Warn("admin socket: connection refused", "uid", uid, "error", err)
		_ = c.Close() // refused either way
	}
}
