package local

import "os"

// FileIdentity returns the device and inode that identify an open file or directory on this machine. It
// returns 0, 0 on systems without them.
func FileIdentity(f *os.File) (device, inode uint64, err error) { return identityOf(f) }

// PathIdentity is FileIdentity for the file or directory at a path.
func PathIdentity(path string) (device, inode uint64, err error) { return pathIdentity(path) }
