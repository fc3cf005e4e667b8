package main

import "secmsg/rpc/local"

// stdfds says which standard descriptors were closed when the program started.
// The Go runtime opens the null device in the place of a closed one before any
// Go code runs, so that a write to it succeeds and everything seems to be shown.
type stdfds struct {
	stdin, stdout bool
	// stdoutMaybe: where the runtime cannot be forestalled, the null device that is
	// open for reading and writing may be the runtime's. Some programs (Python and
	// Node among them) hand down such a one when they discard the output.
	stdoutMaybe bool
}

// errNoStdout is the error of a command whose standard output was closed.
func errNoStdout() *local.Error {
	return local.Errorf(local.CodeIO, "standard output is closed").WithHint("to discard the output: >/dev/null")
}

// needStdout is called by what acknowledges or marks as read because it was
// shown. It fails if nobody may have seen it.
func (a *app) needStdout() error {
	if a.std.stdoutMaybe {
		e := errNoStdout()
		e.Message = "standard output is closed, or discards everything; nothing was shown and nothing acknowledged"
		return e
	}
	return nil
}
