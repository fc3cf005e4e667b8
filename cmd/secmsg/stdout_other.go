//go:build !unix

package main

import "os"

// unread is false: this platform cannot tell before a write fails.
func unread(*os.File) bool { return false }
