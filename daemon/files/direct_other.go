//go:build !linux

package files

import (
	"errors"
	"os"
)

// setDirect fails: direct writes are implemented for Linux only.
func setDirect(*os.File, bool) error { return errors.ErrUnsupported }
