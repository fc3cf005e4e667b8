package files

import (
	"errors"
	"fmt"
)

// errNoSpace defers an automatic fetch that would fill the disk.
var errNoSpace = errors.New("too little disk space is left to fetch it automatically")

// keepShare: automatic fetches leave a twentieth of the file system free if that is less
// than Options.KeepFree. On a small file system a fixed size would leave no room for them.
const keepShare = 20

// room fails with errNoSpace if storing size bytes in dir would leave less space than keep
// bytes, or than a twentieth of the file system if that is less.
func room(dir string, size, keep int64) error {
	free, total, err := space(dir)
	if err != nil {
		return fmt.Errorf("look for space in %s: %w", dir, err)
	}
	if keep = min(keep, total/keepShare); size > free-keep {
		return fmt.Errorf("%w: %d bytes are free in %s", errNoSpace, free, dir)
	}
	return nil
}
