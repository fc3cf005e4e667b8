package main

import (
	"bytes"
	"os"
	"strconv"
)

// zombie reports whether the process has exited, although its parent has not collected
// it yet (proc_pid_stat(5): the state follows the name in parentheses).
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')')
	return i >= 0 && i+2 < len(b) && (b[i+2] == 'Z' || b[i+2] == 'X')
}
