package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// day is the meaning of the suffix d in a duration: 24 hours, whatever the calendar.
const day = 24 * time.Hour

// ParseDuration reads a Go duration, or whole days such as "30d". Negative
// durations are refused.
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration (example: 30s, 10m or 30d)", text)
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration (example: 30s, 10m or 30d)", text)
	}
	return d, nil
}

// FormatDuration formats d for ParseDuration, in whole days, hours or minutes if
// possible.
func FormatDuration(d time.Duration) string {
	switch {
	case d > 0 && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d > 0 && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d > 0 && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

// Size is a number of bytes. As text it may carry KiB, MiB, GiB or TiB.
type Size int64

// sizeUnits are the suffixes of a Size, longest power first so that String is short.
var sizeUnits = [...]struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText reads a size such as "100MiB" or "4096". Negative sizes and
// sizes over 2^63-1 are refused.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size (example: 64KiB or 100MiB)", text)
}

// String returns the size in the largest unit in which it is whole.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return "0"
}
