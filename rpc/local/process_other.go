//go:build unix && !linux

package local

import "os"

// mayBeDaemon cannot be asked here.
func mayBeDaemon(int) bool { return true }

// processStopped cannot be asked here.
func processStopped(int) bool { return false }

// mayHold cannot be asked here.
func mayHold(*os.File, int) bool { return true }
