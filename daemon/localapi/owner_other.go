//go:build !unix

package localapi

import "io/fs"

// Ownership and access are lists of the file system here, inherited from the
// user's own directory; the mode does not show them.
func owned(fs.FileInfo) bool { return true }
func loose(fs.FileInfo) bool { return false }
