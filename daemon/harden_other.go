//go:build !linux

package daemon

// harden has nothing to do on this system.
func harden() error { return nil }
