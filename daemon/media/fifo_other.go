//go:build !unix

package media

import "os"

// waitForWriter does nothing where there are no FIFOs in the file system.
func waitForWriter(*os.File) error { return nil }
