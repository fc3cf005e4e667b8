package main

import (
	"errors"
	"os"

	"secmsg/rpc/local"
)

// wholeWriter is stdoutWriter for content that is good only as a whole: a reader
// that leaves before the last byte makes it fail.
type wholeWriter struct{ f *os.File }

// Write implements io.Writer.
func (w wholeWriter) Write(b []byte) (int, error) {
	n, err := stdoutWriter(w).Write(b)
	if errors.Is(err, errReaderLeft) {
		err = local.Errorf(local.CodeIO, "the reader of the output left before the last byte; the file can be fetched again")
	}
	return n, err
}

// stdoutWriter writes to a file and tells, as app.write does, when its reader went away.
type stdoutWriter struct{ f *os.File }

// Write implements io.Writer.
func (w stdoutWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	return n, writeError(err)
}
