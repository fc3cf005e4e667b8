//go:build !linux

package main

import "log/slog"

// catchStray does nothing here: libraries write to standard error as they please.
func (a *app) catchStray() (follow func(*slog.Logger) (stop func()), err error) {
	return func(*slog.Logger) func() { return func() {} }, nil
}
