package localapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// doorPoll is the interval at which a Door checks that its socket still exists. It polls:
// watching a directory needs code of its own on each system.
const doorPoll = time.Second

// Door is the listener of a daemon. The socket's file can be removed while the daemon runs:
// a runtime directory is removed at the user's last logout, and a stopped socket unit
// removes its socket. Watch detects that and creates another socket, possibly at another
// path. Existing connections are not affected.
type Door struct {
	// constant
	places   func() []string
	announce func(socket string) error
	logger   *slog.Logger

	mu     sync.Mutex
	ln     net.Listener // never nil; guarded by mu
	path   string       // path of the socket; guarded by mu
	info   fs.FileInfo  // file at path; nil if it was already gone; guarded by mu
	closed bool         // guarded by mu
}

// NewDoor listens at the first possible one of places, or uses inherited, a listener from a
// service manager, if that is not nil. It passes the path to announce.
func NewDoor(inherited net.Listener, places func() []string, announce func(string) error, logger *slog.Logger) (*Door, error) {
	d := &Door{places: places, announce: announce, logger: logger}
	if inherited == nil {
		ln, err := d.listen()
		if err != nil {
			return nil, err
		}
		inherited = ln
	}
	d.set(inherited)
	return d, nil
}

var errNoPlace = errors.New("cannot create a socket: the directory of the profile was moved or removed")

// listen creates a socket at the first possible place. A place in use belongs to the
// service manager or to a daemon of another profile: a daemon of this profile would hold
// its lock, which the caller has.
func (d *Door) listen() (net.Listener, error) {
	places := d.places()
	if len(places) == 0 {
		return nil, errNoPlace
	}
	var problems error
	for _, path := range places {
		ln, err := Listen(path)
		if err == nil {
			if problems != nil {
				d.logger.Warn("listening elsewhere", "socket", path, "error", problems)
			}
			return ln, nil
		}
		problems = errors.Join(problems, err)
	}
	return nil, problems
}

// set makes ln the listener. It is not called concurrently.
func (d *Door) set(ln net.Listener) {
	path := ln.Addr().String()
	info, err := os.Lstat(path)
	if err != nil {
		info = nil
	}
	d.mu.Lock()
	former := d.ln
	d.ln, d.path, d.info = ln, path, info
	closed := d.closed
	d.mu.Unlock()
	if former != nil {
		_ = former.Close() // unblocks Accept, which continues with the new one
	}
	if closed {
		_ = ln.Close()
		return
	}
	if err := d.announce(path); err != nil {
		// Clients try all places anyway; only an unusual place needs the announcement.
		d.logger.Warn("announce the socket", "socket", path, "error", err)
	}
}

// Watch replaces a missing socket until ctx ends.
func (d *Door) Watch(ctx context.Context) {
	t := time.NewTicker(doorPoll)
	defer t.Stop()
	told := false
	for {
		if !d.open() {
			ln, err := d.listen()
			switch {
			case err == nil:
				d.set(ln)
				d.logger.Info("the socket was gone; listening on a new one", "socket", ln.Addr().String())
				told = false
			case !told:
				d.logger.Error("the socket is gone, and another cannot be made", "error", err)
				told = true
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// open reports whether clients can find the socket at its path.
func (d *Door) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := os.Lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || d.info != nil && os.SameFile(now, d.info)
}

// Accept implements net.Listener.
func (d *Door) Accept() (net.Conn, error) {
	for {
		ln, closed := d.current()
		if closed {
			return nil, net.ErrClosed
		}
		c, err := ln.Accept()
		if err == nil || !errors.Is(err, net.ErrClosed) {
			return c, err
		}
		if now, closed := d.current(); closed || now == ln {
			return nil, fmt.Errorf("the socket was closed: %w", err)
		}
	}
}

func (d *Door) current() (ln net.Listener, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ln, d.closed
}

// Close implements net.Listener.
func (d *Door) Close() error {
	d.mu.Lock()
	d.closed = true
	ln := d.ln
	d.mu.Unlock()
	return ln.Close()
}

// Addr implements net.Listener. It returns the present path of the socket.
func (d *Door) Addr() net.Addr {
	ln, _ := d.current()
	return ln.Addr()
}
