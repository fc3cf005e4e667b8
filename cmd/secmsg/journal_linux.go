package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// isJournal reports whether systemd's journal reads f: systemd names its socket
// in JOURNAL_STREAM, which children inherit even if their output goes elsewhere
// (systemd.exec(5)).
func isJournal(f *os.File) bool {
	device, inode, ok := strings.Cut(os.Getenv("JOURNAL_STREAM"), ":")
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && device == strconv.FormatUint(st.Dev, 10) && inode == strconv.FormatUint(st.Ino, 10)
}
