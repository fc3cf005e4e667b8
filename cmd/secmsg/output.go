package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"secmsg/rpc/local"
)

// errReaderLeft means that the reader of standard output closed the pipe. That is
// normal (head does it), so the program exits with 0, except for output that is
// useless in part.
var errReaderLeft = errors.New("the reader of standard output went away")

// write prints text to standard output. All text goes through it, so that no control
// character reaches a terminal even if a caller forgot to make it visible.
func (a *app) write(b []byte) error { return a.writeRaw([]byte(visibleBlock(string(b)))) }

// writeJSON prints a line of JSON.
func (a *app) writeJSON(b []byte) error { return a.writeRaw(append(escapeFormat(b), '\n')) }

// writeRaw prints bytes unchanged. They are made by this program: JSON, escape
// sequences of pictures, completion scripts.
func (a *app) writeRaw(b []byte) error {
	_, err := a.stdout.Write(b)
	return writeError(err)
}

// writeError classifies an error from writing to standard output.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return errReaderLeft
	case errors.Is(err, fs.ErrClosed), errors.Is(err, syscall.EBADF):
		return errNoStdout()
	}
	return local.IOError(err, "standard output: %v", err)
}

// printJSON prints v as one line of JSON.
func (a *app) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return a.writeJSON(b)
}

// marshalLine encodes v as one line. encoding/json escapes control characters, and
// escapeFormat the other characters that a terminal acts on, so that the line can be
// printed safely.
func marshalLine(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return append(escapeFormat(b), '\n'), nil
}

// printf prints a line of data to standard output. Text of a peer must go through
// visible first.
func (a *app) printf(format string, args ...any) error {
	return a.write(fmt.Appendf(nil, format+"\n", args...))
}

// notef prints a message for a person on standard error, unless --quiet is given.
func (a *app) notef(format string, args ...any) {
	if a.quiet {
		return
	}
	a.tell("secmsg: " + fmt.Sprintf(format, args...) + "\n")
}

// tell writes to standard error. Like write, it makes control characters visible.
func (a *app) tell(text string) { _, _ = io.WriteString(a.stderr, visibleBlock(text)) }

// printError prints the error that ends the program. In systemd's journal it has
// the priority of an error.
func (a *app) printError(e *local.Error) {
	text := fmt.Sprintf("secmsg: %s\n", visible(e.Message))
	if len(a.wrong) > 0 {
		text = ""
		for _, line := range a.wrong { // FILE:LINE: text, without a prefix
			text += visible(line) + "\n"
		}
	}
	for _, c := range e.Candidates {
		text += fmt.Sprintf("  %s\n", visible(c))
	}
	if e.Hint != "" {
		text += fmt.Sprintf("hint: %s\n", visible(e.Hint))
	}
	if a.errorsAsJSON() {
		b, err := marshalLine(struct {
			Error *local.Error `json:"error"`
		}{e})
		if err != nil {
			return
		}
		text = string(b)
	}
	if isJournal(a.stderr) {
		text = prefixLines(text, priorityError)
	}
	a.tell(text)
}

// errorsAsJSON reports whether errors are printed as JSON. If the command line could
// not be parsed, -o json may follow the mistake, so the arguments are searched.
func (a *app) errorsAsJSON() bool {
	if a.output != "" {
		return a.output == outputJSON
	}
	for i, arg := range a.args {
		switch {
		case arg == "--":
			return false
		case (arg == "-o" || arg == "--output") && i+1 < len(a.args):
			return a.args[i+1] == outputJSON
		case strings.HasPrefix(arg, "--output="):
			return arg == "--output="+outputJSON
		case arg == "-o"+outputJSON, arg == "-o="+outputJSON:
			return true
		}
	}
	return os.Getenv("SECMSG_OUTPUT") == outputJSON
}
