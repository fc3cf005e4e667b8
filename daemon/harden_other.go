//go:build !linux

package daemon

// harden does nothing on this system.
func harden() error { return nil }
