//go:build !unix

package media

import "os"

// waitForWriter does nothing: this system has no FIFOs in the file system.
func waitForWriter(*os.File) error { return nil }
