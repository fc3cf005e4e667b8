//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

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

func inUse(f *os.File) error {
	b, err := io.ReadAll(io.LimitReader(f, maxPID))
	pid := strings.TrimSpace(string(b))
	if _, bad := strconv.Atoi(pid); err != nil || bad != nil {
		return local.Errorf(local.CodeUsage, "another daemon runs on this profile")
	}
	return local.Errorf(local.CodeUsage, "another daemon runs on this profile, pid %s", pid)
}
