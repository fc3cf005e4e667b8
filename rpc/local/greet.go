package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// greetTimeout is how long a running daemon may take to answer the greeting, which needs neither
	// the disk nor an account.
	greetTimeout = 5 * time.Second
	// startTimeout is how long a starting daemon may take. With a service manager's socket it first
	// opens its database, which replays a log after a crash.
	startTimeout = 20 * time.Second
	// greetPoll is how often the holder of the profile's lock is checked meanwhile.
	greetPoll = 100 * time.Millisecond
)

// HelloParams are the parameters of daemon.hello.
type HelloParams struct {
	// Version is the version of the caller.
	Version string `json:"version,omitempty"`
	// Resumes says that the caller reconnects and continues when the daemon ends
	// this connection. Such a caller does not keep a daemon from being restarted for an upgrade.
	Resumes bool `json:"resumes,omitempty"`
}

// Hello answers daemon.hello.
type Hello struct {
	PID     int    `json:"pid"`     // process id of the daemon
	Version string `json:"version"` // version of the daemon
	// Profile is the directory of the daemon's database.
	Profile string `json:"profile"`
	// Program is the path by which the daemon was started, with symbolic links
	// unresolved: the program that the same command would start now.
	Program string `json:"program"`
	// Unit is the systemd service in which the daemon runs; absent if a command started it.
	Unit string `json:"unit,omitempty"`
	// Manager is the systemd instance of that service, user or system.
	Manager string `json:"manager,omitempty"`
	// Activated says that the service manager holds the socket, and starts the daemon on a connection.
	Activated bool `json:"activated,omitempty"`
}

// TransientPrefix is the prefix of the name of the transient unit in which a command has the user's
// service manager run the daemon.
const TransientPrefix = "secmsg-daemon-"

// Systemd instances that run a daemon.
const (
	ManagerUser   = "user"   // the systemd of the user
	ManagerSystem = "system" // the systemd of the machine
)

// Target says where the daemon of a profile may listen, and how to recognize it.
type Target struct {
	// Sockets are tried in this order.
	Sockets []string
	// Profile is the directory of its database; empty: any. The name of a socket does not identify the
	// daemon: a copied profile, or one under another XDG_DATA_HOME, may lead to the same socket.
	Profile string
	// Lock is the file that the daemon keeps locked; empty if not known.
	Lock string
	// Stalled is called from time to time while a socket is open but nobody has the lock, because a
	// service manager is expected to start the daemon. Its error ends the wait. It may be nil.
	Stalled func(waited time.Duration) error
	// Caller is the caller's introduction.
	Caller HelloParams
}

// dialError is an error of Dial that records whether a daemon listens.
type dialError struct {
	cause  *Error
	absent bool
}

// Error returns the text.
func (e *dialError) Error() string { return e.cause.Message }

// Unwrap lets errors.As find the Error.
func (e *dialError) Unwrap() error { return e.cause }

// IsAbsent reports whether err, from Dial, means that no daemon of the profile listens anywhere.
func IsAbsent(err error) bool {
	e, ok := errors.AsType[*dialError](err)
	return ok && e.absent
}

// IsHanging reports whether err means that the daemon does not answer.
func IsHanging(err error) bool {
	e, ok := errors.AsType[*dialError](err)
	return ok && !e.absent
}

func absent(format string, args ...any) error {
	return &dialError{Errorf(CodeNoDaemon, format, args...).WithHint("secmsg daemon run"), true}
}

// greeted is a connection to a daemon that has introduced itself.
type greeted struct {
	conn  *net.UnixConn
	r     *bufio.Reader
	path  string
	hello Hello
}

// dial connects to the first socket of t on which the daemon of the profile answers.
func dial(ctx context.Context, t Target) (greeted, error) {
	d := net.Dialer{Timeout: dialTimeout}
	var last error
	for _, path := range t.Sockets {
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			if ctx.Err() != nil {
				return greeted{}, ctx.Err()
			}
			if !nobody(err) {
				last = fmt.Errorf("connect to the daemon: %w", err)
			}
			continue
		}
		g := greeted{conn: conn.(*net.UnixConn), path: path}
		if err := CheckPeer(g.conn); err != nil {
			_ = conn.Close()
			last = fmt.Errorf("socket %s is not trusted: %w", path, err)
			continue
		}
		err = g.greet(ctx, t)
		if err == nil {
			return g, nil
		}
		_ = conn.Close()
		if errors.Is(err, errOther) || errors.Is(err, errLeft) {
			continue
		}
		return greeted{}, err
	}
	if last != nil {
		return greeted{}, absent("the daemon is not running (%v)", last)
	}
	return greeted{}, absent("the daemon is not running")
}

var (
	// errOther: the daemon of another profile listens there.
	errOther = errors.New("the daemon of another profile")
	// errLeft: the daemon ended before its introduction. No request was made yet, so the caller may
	// look for the next daemon.
	errLeft = errors.New("the daemon exited")
)

// greet exchanges daemon.hello.
func (g *greeted) greet(ctx context.Context, t Target) error {
	params, err := json.Marshal(t.Caller)
	if err != nil {
		return fmt.Errorf("encode %s: %w", MethodDaemonHello, err)
	}
	line, err := json.Marshal(Request{Version: rpcVersion, ID: json.RawMessage("0"), Method: MethodDaemonHello, Params: params})
	if err != nil {
		return fmt.Errorf("encode %s: %w", MethodDaemonHello, err)
	}
	if _, err := g.conn.Write(append(line, '\n')); err != nil {
		return errLeft
	}
	g.r = bufio.NewReaderSize(g.conn, readBuffer)
	type answer struct {
		frame frame
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		f, err := readFrame(g.r)
		answered <- answer{f, err}
	}()
	// giveUp ends the goroutine, which is the only reader.
	giveUp := func(err error) error {
		_ = g.conn.Close()
		<-answered
		return err
	}
	tick := time.NewTicker(greetPoll)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case a := <-answered:
			if a.err != nil {
				return errLeft
			}
			return g.accept(a.frame, t)
		case <-ctx.Done():
			return giveUp(ctx.Err())
		case <-tick.C:
			waited := time.Since(start)
			if err := hanging(t.Lock, waited); err != nil {
				return giveUp(err)
			}
			if t.Stalled != nil && !ReadHolder(t.Lock).Held {
				if err := t.Stalled(waited); err != nil {
					return giveUp(err)
				}
			}
		}
	}
}

// accept checks the daemon's introduction.
func (g *greeted) accept(f frame, t Target) error {
	switch {
	case f.Error != nil && f.Error.Code == RPCNoMethod:
		return nil // a daemon from before the greeting existed; its version is empty
	case f.Error != nil:
		return f.Error.asError()
	}
	if err := json.Unmarshal(f.Result, &g.hello); err != nil {
		return fmt.Errorf("decode answer to %s: %w", MethodDaemonHello, err)
	}
	if t.Profile != "" && g.hello.Profile != "" && !sameDir(t.Profile, g.hello.Profile) {
		return errOther
	}
	return nil
}

func sameDir(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}

// hanging returns an error if a daemon that has not answered for this long never will. The lock of the
// profile identifies it.
func hanging(lock string, waited time.Duration) error {
	h := ReadHolder(lock)
	if h.Stopped && waited >= greetPoll {
		return &dialError{cause: stoppedError(h.PID)}
	}
	limit := greetTimeout
	if lock != "" && (!h.Held || h.State == HolderStarting) {
		limit = startTimeout
	}
	if waited < limit {
		return nil
	}
	if lock != "" && !h.Held {
		return &dialError{cause: Errorf(CodeNoDaemon, "the service manager did not start the daemon within %s", limit).
			WithHint("for the reason, see: systemctl --user status secmsg.service")}
	}
	name := "the daemon"
	if h.PID != 0 {
		name = fmt.Sprintf("the daemon, pid %d,", h.PID)
	}
	return &dialError{cause: Errorf(CodeNoDaemon, "%s has not responded for %s", name, limit).
		WithHint("end it with: secmsg daemon stop --force; the next command starts it again")}
}
