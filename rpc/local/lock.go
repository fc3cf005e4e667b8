package local

import (
	"strconv"
	"strings"
)

// Holder tells who has the lock of a profile: the daemon that runs on it. The
// kernel drops the lock with its process, however that ends, so that, unlike a
// socket or a file with a pid, it never outlives the daemon.
type Holder struct {
	// Held says that a process has the lock.
	Held bool
	// PID and State are what that process wrote into the file; PID is 0 if it
	// has not done so yet, or names no living daemon.
	PID   int
	State string
	// Stopped says that the process was stopped by a signal (SIGSTOP), or by a
	// debugger, and does nothing; known on Linux only.
	Stopped bool
}

// States of a Holder.
const (
	HolderStarting = "starting" // it does not listen yet
	HolderRunning  = "running"
	HolderStopping = "stopping" // it listens no more and ends
)

// maxHolder bounds what is read from the files of a lock.
const maxHolder = 64

// stateFile is where the holder of a lock writes how far it is: PID STATE. The
// lock's own file holds the pid alone, as scripts expect of such a file.
func stateFile(lock string) string { return lock + ".state" }

// parseHolder reads the first line of a file of the lock: PID, or PID STATE.
func parseHolder(b []byte) (pid int, state string) {
	line, _, _ := strings.Cut(string(b), "\n")
	number, state, _ := strings.Cut(line, " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return 0, ""
	}
	return pid, state
}
