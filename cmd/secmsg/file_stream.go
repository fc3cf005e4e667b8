package main

import (
	"errors"
	"os"

	"secmsg/rpc/local"
)

// wholeWriter is stdoutWriter for content that is useless in part: a reader that
// closes the pipe before the last byte is an error.
type wholeWriter struct{ f *os.File }

// Write implements io.Writer.
func (w wholeWriter) Write(b []byte) (int, error) {
	n, err := stdoutWriter(w).Write(b)
	if errors.Is(err, errReaderLeft) {
		err = local.Errorf(local.CodeIO, "the reader closed the pipe before the last byte; the file can be fetched again")
	}
	return n, err
}

// stdoutWriter writes to a file. Like app.write, it returns errReaderLeft if the
// reader of a pipe has closed it.
type stdoutWriter struct{ f *os.File }

// Write implements io.Writer.
func (w stdoutWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	return n, writeError(err)
}
