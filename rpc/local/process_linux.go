package local

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// mayBeDaemon reports whether the command line of a process is that of a daemon, or cannot be read.
// Test binaries run daemons in their own process.
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

// mayHold reports whether process pid may hold the lock of f, given that some process does. The
// kernel's list of locks (proc_locks(5)) names the process that took each lock. It does not name
// processes of another pid namespace, and on some layered file systems its inode numbers differ from
// those of stat.
func mayHold(f *os.File, pid int) bool {
	info, err := f.Stat()
	if err != nil {
		return true
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return true
	}
	return listedHolder(string(list), pid, st.Ino)
}

// listedHolder reports whether the list of locks is consistent with pid holding the flock of inode: it
// is listed as the holder, or nobody is.
func listedHolder(list string, pid int, inode uint64) bool {
	others := false
	for line := range strings.Lines(list) {
		// 4: FLOCK  ADVISORY  WRITE 18981 fe:00:10102974 0 EOF
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || field[3] != "WRITE" {
			continue // including waiting processes, whose second field is ->
		}
		device := strings.Split(field[5], ":")
		if device[len(device)-1] != strconv.FormatUint(inode, 10) {
			continue
		}
		if field[4] == strconv.Itoa(pid) {
			return true
		}
		others = true
	}
	return !others
}
