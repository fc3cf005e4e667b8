package main

import (
	"bytes"
	"io"
)

// escapingWriter escapes, in each line of a log in JSON, the characters that
// encoding/json leaves as they are and a terminal acts on: errors in the log
// quote what a server, a store or a contact wrote. The text handler of log/slog
// quotes such characters itself.
type escapingWriter struct{ out io.Writer }

// Write writes one line. The JSON in it means the same as before.
func (w escapingWriter) Write(line []byte) (int, error) {
	body, ended := bytes.CutSuffix(line, []byte("\n"))
	safe := escapeFormat(body)
	if len(safe) == len(body) { // nothing was escaped: an escape is longer
		return w.out.Write(line)
	}
	if ended {
		safe = append(safe, '\n')
	}
	if _, err := w.out.Write(safe); err != nil {
		return 0, err
	}
	return len(line), nil
}
