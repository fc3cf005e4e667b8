//go:build !unix

package media_test

import "syscall"

// reuse does nothing.
func reuse(_, _ string, _ syscall.RawConn) error { return nil }
