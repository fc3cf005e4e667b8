package local

import (
	"strconv"
	"strings"
)

// Holder describes the holder of a profile's lock: the daemon that runs on the profile. The kernel
// releases the lock when the process ends, for whatever reason. So, unlike a socket or a pid file, it
// never outlives the daemon.
type Holder struct {
	// Held reports that a process has the lock.
	Held bool
	// PID and State are the values that the process wrote into the file. PID is 0 if it has not written yet, or
	// if the number belongs to no living daemon.
	PID   int
	State string
	// Stopped reports that the process was stopped by a signal (SIGSTOP) or a debugger; known on Linux
	// only.
	Stopped bool
}

// States of a Holder.
const (
	HolderStarting = "starting" // it does not listen yet
	HolderRunning  = "running"
	HolderStopping = "stopping" // it has stopped listening and is ending
)

// maxHolder bounds the bytes read from the files of a lock.
const maxHolder = 64

// stateFile is the file in which the holder of a lock writes its state: PID STATE. The lock file itself
// contains only the pid, as scripts expect.
func stateFile(lock string) string { return lock + ".state" }

// parseHolder parses the first line of a lock's file: PID, or PID STATE.
func parseHolder(b []byte) (pid int, state string) {
	line, _, _ := strings.Cut(string(b), "\n")
	number, state, _ := strings.Cut(line, " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return 0, ""
	}
	return pid, state
}
