package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for the values in /proc (proc(5)).
const ticksPerSecond = 100

// CPU returns the CPU time used by a process, from /proc/PID/stat.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("cpu of %d: %w", pid, err)
	}
	// The second field is a name in parentheses that may contain anything.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	const utime, stime = 11, 12 // fields 14 and 15 of proc(5), counted from the third
	if len(fields) <= stime {
		return 0, fmt.Errorf("cpu of %d: stat %q", pid, b)
	}
	var ticks int64
	for _, f := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cpu of %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// RSS returns the resident memory of a process in bytes, from /proc/PID/status.
func RSS(pid int) (int64, error) { return statusField(pid, "VmRSS:") }

// PeakRSS returns the peak resident memory of a process, in bytes.
func PeakRSS(pid int) (int64, error) { return statusField(pid, "VmHWM:") }

// statusField reads a number of KiB from /proc/PID/status and returns it in bytes.
func statusField(pid int, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("memory of %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("memory of %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of %d: no %s", pid, name)
}

// ended reports whether a process has ended with all its threads, so that its files and sockets are
// closed, even if nobody has waited for it yet.
func ended(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return true
	}
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	return err != nil || len(threads) <= 1 && strings.HasPrefix(rest, "Z")
}
