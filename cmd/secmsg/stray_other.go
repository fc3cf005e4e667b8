//go:build !linux

package main

import "log/slog"

// catchStray does nothing: on this platform, libraries write to standard error directly.
func (a *app) catchStray() (follow func(*slog.Logger) (stop func()), err error) {
	return func(*slog.Logger) func() { return func() {} }, nil
}
