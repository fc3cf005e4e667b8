//go:build !linux

package blob

import "os"

// dropCache does nothing on systems without a known call for it.
func dropCache(*os.File) {}

// startWrite does nothing on systems without a known call for it.
func startWrite(*os.File, int64, int64) {}
