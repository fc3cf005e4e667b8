package blob

import "syscall"

// mountSmall makes dir a file system of 8 MiB; it needs root.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=700") }

func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
