//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockTries and lockPause bound the wait for a process that only inspects the lock (ReadHolder),
	// and for a daemon that has just taken it to write its pid.
	lockTries = 20
	lockPause = 10 * time.Millisecond
	// sureTries are enough if the file names a living daemon.
	sureTries = 3
)

// Lock is the held lock of a profile. It is flock(2) and not gofrs/flock, because the file also
// holds the pid and the state of its holder, which others read without waiting, and is never removed.
type Lock struct {
	f *os.File
}

// TakeLock takes the lock of a profile for the life of the process. If another daemon has it, it
// returns an Error of code in_use with that daemon's pid. The file is never removed: otherwise two
// daemons could lock two files of the same name.
func TakeLock(ctx context.Context, path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for try := 1; ; try++ {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		pid, _ := readHolder(f)
		if try == lockTries {
			return nil, errors.Join(inUse(pid), f.Close())
		}
		// If the file names a living daemon, it is not ReadHolder, which releases the lock at once.
		if try >= sureTries && isDaemon(pid) {
			return nil, errors.Join(inUse(pid), f.Close())
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	l := &Lock{f: f}
	// Write the state before the pid, so that whoever reads this pid finds its state.
	if err := l.SetState(HolderStarting); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := writeLine(f, strconv.Itoa(os.Getpid())); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
	}
	return l, nil
}

func inUse(pid int) *Error {
	if !isDaemon(pid) {
		return Errorf(CodeInUse, "another daemon runs on this profile")
	}
	return Errorf(CodeInUse, "another daemon runs on this profile, pid %d", pid)
}

// SetState records the daemon's state for clients. It does nothing once the lock is lost.
func (l *Lock) SetState(state string) error {
	if l.Lost() {
		return nil // the file of that name belongs to another daemon, or would be left behind
	}
	f, err := os.OpenFile(stateFile(l.f.Name()), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write the state of the lock: %w", err)
	}
	if err := errors.Join(writeLine(f, fmt.Sprintf("%d %s", os.Getpid(), state)), f.Close()); err != nil {
		return fmt.Errorf("write the state of the lock: %w", err)
	}
	return nil
}

// writeLine replaces the file's content by one line. A reader never finds it empty.
func writeLine(f *os.File, text string) error {
	if _, err := f.WriteAt([]byte(text+"\n"), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text) + 1))
}

// Lost reports whether the lock file is no longer the file of that name, because somebody removed or
// replaced it or the profile's directory. Then nobody can find the daemon, and a second one may run on
// the profile.
func (l *Lock) Lost() bool {
	now, err := os.Lstat(l.f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return false
	}
	held, err := l.f.Stat()
	return err == nil && !os.SameFile(now, held)
}

// Release releases the lock.
func (l *Lock) Release() error { return l.f.Close() }

// ReadHolder returns the holder of a profile's lock. If nobody has the lock, it takes it for a moment,
// which TakeLock allows for.
func ReadHolder(path string) Holder {
	if path == "" {
		return Holder{}
	}
	f, err := os.Open(path)
	if err != nil {
		return Holder{}
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return Holder{}
	}
	h := Holder{Held: true}
	// A pid in the file proves nothing: another program may have the lock, and the number may belong to
	// a process unrelated to this profile.
	if pid, state := readHolder(f); isDaemon(pid) && mayHold(f, pid) {
		h.PID, h.State, h.Stopped = pid, state, processStopped(pid)
	}
	return h
}

// readHolder reads the pid in an open lock file, and the state that this process wrote.
func readHolder(f *os.File) (pid int, state string) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxHolder))
	if err != nil {
		return 0, ""
	}
	if pid, _ = parseHolder(b); pid == 0 {
		return 0, ""
	}
	g, err := os.Open(stateFile(f.Name()))
	if err != nil {
		return pid, HolderStarting
	}
	defer g.Close()
	if b, err = io.ReadAll(io.LimitReader(g, maxHolder)); err != nil {
		return pid, HolderStarting
	}
	if writer, state := parseHolder(b); writer == pid {
		return pid, state
	}
	return pid, HolderStarting // the state of an earlier holder
}

// isDaemon reports whether pid is a living process that may be the daemon. A lock file names an earlier
// daemon until the current one has written to it, and a pid of another pid namespace means nothing
// here.
func isDaemon(pid int) bool {
	return pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) && mayBeDaemon(pid)
}
