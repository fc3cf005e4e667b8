//go:build unix && !linux

package local

import "os"

// mayBeDaemon always returns true: this system cannot tell.
func mayBeDaemon(int) bool { return true }

// processStopped always returns false: this system cannot tell.
func processStopped(int) bool { return false }

// mayHold always returns true: this system cannot tell.
func mayHold(*os.File, int) bool { return true }
