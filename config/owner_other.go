//go:build !unix

package config

import "io/fs"

// enforceMode is false: on this platform permissions are access control lists, which a
// file mode does not show.
const enforceMode = false

func checkOwner(string, fs.FileInfo) error { return nil }

func foreignOwner(fs.FileInfo) (owner, bool) { return owner{}, false }
