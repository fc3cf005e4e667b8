//go:build !unix

package main

import "log/slog"

// onAbort does nothing: this platform has no watchdog that sends SIGABRT.
func onAbort(*slog.Logger, func(), string) (stop func()) { return func() {} }
