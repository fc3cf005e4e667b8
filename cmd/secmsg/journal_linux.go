package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// isJournal reports whether f is connected to systemd's journal. systemd puts the
// device and inode of its socket into JOURNAL_STREAM. Children inherit the variable
// even if their output goes elsewhere, so both are compared (systemd.exec(5)).
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
