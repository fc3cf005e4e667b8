//go:build !linux && !darwin && !freebsd

package files

import "math"

// space knows nothing of file systems here, so nothing is held back.
func space(string) (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }
