package main

import (
	"io"
	"os"

	"secmsg/rpc/local"

	"golang.org/x/term"
)

// app is one run of the program: its streams and global flags.
type app struct {
	args   []string
	stdin  *os.File
	stdout *os.File
	stderr *os.File

	// Global flags; set by cobra before a command runs.
	account     string
	home        string
	output      string
	noAutostart bool
	quiet       bool
	verbose     bool

	named   string // the account named by the flag or the environment, not by the configuration
	std     stdfds
	wrong   []string // problems in the configuration, a line each
	helpErr error    // from writing help

	told []string // reasons for waiting messages that were already printed
}

// Values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

func newApp(args []string, stdin, stdout, stderr *os.File) *app {
	return &app{args: args, stdin: stdin, stdout: stdout, stderr: stderr}
}

// json reports whether data and errors are printed as JSON.
func (a *app) json() bool { return a.output == outputJSON }

// stdinTerminal, stderrTerminal and stdoutTerminal report whether a person sits at the stream.
func (a *app) stdinTerminal() bool  { return term.IsTerminal(int(a.stdin.Fd())) }
func (a *app) stderrTerminal() bool { return term.IsTerminal(int(a.stderr.Fd())) }
func (a *app) stdoutTerminal() bool { return term.IsTerminal(int(a.stdout.Fd())) }

// stdoutColumns is the width of standard output: that of the terminal, or 80
// columns if it is not a terminal.
func (a *app) stdoutColumns() int { return columnsOf(a.stdout) }

// stderrColumns is the width of standard error.
func (a *app) stderrColumns() int { return columnsOf(a.stderr) }

func columnsOf(f *os.File) int {
	const usual = 80
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width
	}
	return usual
}

// readAll reads all of r. If that is more than limit bytes, it returns tooLong.
func readAll(r io.Reader, limit int64, tooLong *local.Error) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, local.IOError(err, "read: %v", err)
	}
	if int64(len(b)) > limit {
		return nil, tooLong
	}
	return b, nil
}

// usagef makes an error of code "usage": exit 1.
func usagef(format string, args ...any) *local.Error {
	return local.Errorf(local.CodeUsage, format, args...)
}
