package local

import (
	"bytes"
	"os"
	"strconv"
)

// mayBeDaemon reports whether the command line of a process is that of a
// daemon, or cannot be read. Test binaries run daemons in their own process.
func mayBeDaemon(pid int) bool {
	if pid == os.Getpid() {
		return true
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return true
	}
	return bytes.Contains(line, []byte("\x00daemon\x00run\x00"))
}

// processStopped reports whether a process was stopped by a signal or a
// debugger (proc_pid_stat(5): the state follows the name in parentheses).
func processStopped(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')')
	return i >= 0 && i+2 < len(b) && (b[i+2] == 'T' || b[i+2] == 't')
}
