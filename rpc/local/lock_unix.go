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
	// lockTries and lockPause bound the wait for somebody who only looks at the
	// lock (ReadHolder), and for the daemon that has just taken it to write its pid.
	lockTries = 20
	lockPause = 10 * time.Millisecond
	// sureTries are enough if the file names a living daemon.
	sureTries = 3
)

// Lock is the lock of a profile, held.
type Lock struct {
	f *os.File
}

// TakeLock takes the lock of a profile for the life of the process. If another
// daemon has it, it fails with an Error of code in_use that names its pid. The
// file stays, since removing it would let two daemons lock two files of one name.
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
		// A living daemon in the file is no mere onlooker, whose look takes no time.
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
	// The state before the pid: whoever reads this pid finds its state.
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

// SetState tells clients how far the daemon is. It does nothing once the lock is lost.
func (l *Lock) SetState(state string) error {
	if l.Lost() {
		return nil // the file of that name is another daemon's, or would be left behind
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

// writeLine makes text the only line of a file. A reader never finds it empty.
func writeLine(f *os.File, text string) error {
	if _, err := f.WriteAt([]byte(text+"\n"), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text) + 1))
}

// Lost reports whether the lock's file is no longer the one of its name:
// somebody removed or replaced the profile's directory or the file. Nobody can
// find the daemon then, and a second one may run on the profile.
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

// Release gives the lock up.
func (l *Lock) Release() error { return l.f.Close() }

// ReadHolder looks who has the lock of a profile. It takes the lock for a
// moment if nobody has it, which TakeLock allows for.
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
	// A pid in the file is no proof: the lock may be another program's, and the
	// number that of a process which has nothing to do with this profile.
	if pid, state := readHolder(f); isDaemon(pid) && mayHold(f, pid) {
		h.PID, h.State, h.Stopped = pid, state, processStopped(pid)
	}
	return h
}

// readHolder reads the pid in an open lock file, and the state that this process
// wrote beside it.
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
	return pid, HolderStarting // a former holder's
}

// isDaemon reports whether pid is a living process that may be the daemon. A
// lock file names a former one until the present one has written into it, and
// one of another namespace of processes means nothing here.
func isDaemon(pid int) bool {
	return pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) && mayBeDaemon(pid)
}
