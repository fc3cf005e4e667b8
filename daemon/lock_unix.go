//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"secmsg/rpc/local"
)

// maxPID bounds what is read from a lock file.
const maxPID = 32

// takeLock takes the profile's lock for the life of the process, or fails with
// a usage error that names the pid of the daemon that has it. The kernel drops
// the lock with the process, however it ends; the file stays, since removing it
// would let two daemons lock two files of one name.
func takeLock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(inUse(f), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if err := writePID(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

const (
	// pidTries and pidPause bound the wait for the daemon that has just taken the
	// lock to write its pid: until then the file is empty or names a former one.
	pidTries = 20
	pidPause = 10 * time.Millisecond
)

func inUse(f *os.File) error {
	for try := range pidTries {
		if try > 0 {
			<-time.After(pidPause)
		}
		b, err := io.ReadAll(io.NewSectionReader(f, 0, maxPID))
		if err != nil {
			break
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return local.Errorf(local.CodeUsage, "another daemon runs on this profile, pid %d", pid)
		}
	}
	return local.Errorf(local.CodeUsage, "another daemon runs on this profile")
}
