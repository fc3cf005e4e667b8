package files

import (
	"errors"
	"fmt"
)

// errNoSpace keeps a file waiting that would fill the disk. Nobody asked for it.
var errNoSpace = errors.New("too little space is left to fetch it without being asked")

// keepShare is the part of a file system that unasked fetches leave free, where
// that is less than Options.KeepFree: on a small one a fixed size would leave no room at all.
const keepShare = 20

// room fails with errNoSpace if size bytes more in dir would leave less free than
// keep bytes, or than a twentieth of the file system if that is less.
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
