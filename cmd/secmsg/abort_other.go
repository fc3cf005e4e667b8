//go:build !unix

package main

import "log/slog"

// onAbort: no watchdog ends processes by a signal here.
func onAbort(*slog.Logger, func(), string) (stop func()) { return func() {} }
