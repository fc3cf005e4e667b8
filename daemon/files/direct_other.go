//go:build !linux

package files

import (
	"errors"
	"os"
)

// setDirect fails: no such thing is known of this system.
func setDirect(*os.File, bool) error { return errors.ErrUnsupported }
