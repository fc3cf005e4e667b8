//go:build !unix

package localapi

import "io/fs"

// On this system ownership and access are access control lists, inherited from the user's
// directory. The mode does not show them.
func owned(fs.FileInfo) bool        { return true }
func openToOthers(fs.FileInfo) bool { return false }
