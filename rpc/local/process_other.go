//go:build unix && !linux

package local

// mayBeDaemon cannot be asked here.
func mayBeDaemon(int) bool { return true }

// processStopped cannot be asked here.
func processStopped(int) bool { return false }
