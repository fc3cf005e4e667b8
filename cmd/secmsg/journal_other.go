//go:build !linux

package main

import "os"

// isJournal is false: only Linux has systemd's journal.
func isJournal(*os.File) bool { return false }
