package local

import "os"

// FileIdentity returns what tells an open file or directory from every other one
// of this machine: its device and its inode. It is 0, 0 where the system has no such thing.
func FileIdentity(f *os.File) (device, inode uint64, err error) { return identityOf(f) }

// PathIdentity is FileIdentity of the file or directory that a path leads to.
func PathIdentity(path string) (device, inode uint64, err error) { return pathIdentity(path) }
