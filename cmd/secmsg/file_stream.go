package main

import "os"

// stdoutWriter writes to a file and tells, as app.write does, when its reader went away.
type stdoutWriter struct{ f *os.File }

// Write implements io.Writer.
func (w stdoutWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	return n, writeError(err)
}
