package main

import "secmsg/rpc/local"

// stdfds says which standard descriptors were closed when the program started. Before
// any Go code runs, the runtime opens the null device for each closed descriptor, so
// that a write succeeds although nobody can read it.
type stdfds struct {
	stdin, stdout bool
	// stdoutMaybe is set in builds without cgo, which cannot look before the runtime
	// does, if standard output is the null device, open for reading and writing. It may
	// be the runtime's, or that of a parent which discards the output: Python and Node
	// open it in the same way.
	stdoutMaybe bool
}

// errNoStdout is the error of a command whose standard output was closed.
func errNoStdout() *local.Error {
	return local.Errorf(local.CodeIO, "standard output is closed").WithHint("to discard the output: >/dev/null")
}

// needStdout fails if standard output may be closed. Commands call it before they
// print messages and events that they then acknowledge or mark as read.
func (a *app) needStdout() error {
	if a.std.stdoutMaybe {
		e := errNoStdout()
		e.Message = "standard output is closed or discards everything; nothing was shown or acknowledged"
		return e
	}
	return nil
}
