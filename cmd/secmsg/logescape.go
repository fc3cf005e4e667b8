package main

import (
	"bytes"
	"io"
)

// escapingWriter escapes the characters in a JSON log that a terminal acts on and
// that encoding/json leaves unescaped. Errors in the log may quote text from a server,
// a store or a contact. The text handler of log/slog escapes such characters itself.
type escapingWriter struct{ out io.Writer }

// Write writes one line. The JSON in it means the same as before.
func (w escapingWriter) Write(line []byte) (int, error) {
	body, ended := bytes.CutSuffix(line, []byte("\n"))
	safe := escapeFormat(body)
	if len(safe) == len(body) { // nothing was escaped, since escapes are longer
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
