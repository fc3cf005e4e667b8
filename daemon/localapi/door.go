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

// doorPoll is how often a Door looks whether its socket still has its name.
const doorPoll = time.Second

// Door is the listener of a daemon. The name of its socket can go while the
// daemon lives: a runtime directory is removed at the last logout of its user,
// and a socket unit that is stopped takes its socket along. Watch notices that
// and makes another socket, perhaps in another place, while connections that
// stand go on.
type Door struct {
	// constant
	places   func() []string
	announce func(socket string) error
	logger   *slog.Logger

	mu     sync.Mutex
	ln     net.Listener // guarded by mu; never nil
	path   string       // guarded by mu; the socket's name
	info   fs.FileInfo  // guarded by mu; the file of that name; nil if it was gone at once
	closed bool         // guarded by mu
}

// NewDoor listens at the first of the places where that is possible, or takes
// inherited, the listener of a service manager, if that is not nil. It tells
// announce where.
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

var errNoPlace = errors.New("there is no place for a socket: the directory of the profile was moved or removed")

// listen makes a socket at the first place that can be had. A place that is
// taken is the service manager's, or that of a daemon of another profile: of
// this profile no other can be, since the caller holds its lock.
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

// set makes ln the listener. The caller is the only one that does so at the moment.
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
		_ = former.Close() // wakes Accept up, which goes on with the new one
	}
	if closed {
		_ = ln.Close()
		return
	}
	if err := d.announce(path); err != nil {
		// Clients look at all places anyway; only an unusual one needs the announcement.
		d.logger.Warn("announce the socket", "socket", path, "error", err)
	}
}

// Watch looks after the socket until ctx ends.
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
				d.logger.Info("the socket was gone; listening anew", "socket", ln.Addr().String())
				told = false
			case !told:
				d.logger.Error("the socket is gone, and no other can be made", "error", err)
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

// open reports whether clients can find the socket by its name.
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

// Addr implements net.Listener: where clients find the socket at the moment.
func (d *Door) Addr() net.Addr {
	ln, _ := d.current()
	return ln.Addr()
}
