package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"secmsg/config"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func main() {
	// Only net/http uses the log package. It would log up to 64 KiB of unsolicited data
	// from a hostile server at a time, without limit and past our own logger.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// exitRow is one line of the table of exit codes.
type exitRow struct {
	code    int
	codes   []local.Code
	meaning string
}

// exitTable maps error codes to exit codes; nothing else does. Scripts depend on it:
// rows may be added but never changed.
func exitTable() []exitRow {
	return []exitRow{
		{0, nil, "done"},
		{1, []local.Code{local.CodeUsage, local.CodeInUse}, "usage or user error"},
		{2, []local.Code{local.CodeInternal}, "unexpected internal error"},
		{3, []local.Code{local.CodeUnreachable, local.CodeIO, local.CodeDiskFull}, "network or server unreachable, I/O, disk full"},
		{4, []local.Code{local.CodeUntrusted}, "the peer's identity is not trusted, or a message is held for that reason"},
		{5, []local.Code{local.CodeRateLimited, local.CodeQuota}, "rate limit or quota"},
		{6, []local.Code{local.CodeLocked}, "the profile is locked by its passphrase"},
		{7, []local.Code{local.CodeNoDaemon}, "daemon unreachable"},
		{8, []local.Code{local.CodeTimeout, local.CodeExpired}, "timed out waiting for the requested state, or the message expired"},
		{9, []local.Code{local.CodeNotFound}, "peer, message, file or call not found"},
		{10, []local.Code{local.CodeRefused}, "refused by the other side"},
		{130, []local.Code{local.CodeInterrupted}, "interrupted"},
	}
}

// exitCode maps an error's code; one that is not in the table is internal.
func exitCode(c local.Code) int {
	for _, row := range exitTable() {
		for _, known := range row.codes {
			if known == c {
				return row.code
			}
		}
	}
	return 2
}

// run executes one command line and returns its exit code.
func run(args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal restores the default action, so that a second one ends a command
	// that hangs.
	context.AfterFunc(ctx, stop)
	// Taking SIGPIPE (rather than ignoring it, which children would inherit)
	// makes a write to a closed stdout return EPIPE.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	a := newApp(args, stdin, stdout, stderr)
	if stdout == os.Stdout {
		a.std = closedAtStart()
	}
	if a.std.stdout {
		// Nobody could see the result of the command, so it does not run.
		e := errNoStdout()
		a.printError(e)
		return exitCode(e.Code)
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	if len(args) > 0 && args[0] == cobra.ShellCompRequestCmd {
		plainUsage(root)
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.helpErr
	}
	if err == nil || errors.Is(err, errReaderLeft) {
		return 0
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	e := classify(ctx, err)
	if bad, ok := errors.AsType[*config.Invalid](err); ok {
		a.wrong = bad.Lines()
	}
	a.printError(e)
	return exitCode(e.Code)
}

// exitStatus ends the program with a code whose reason was already printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// classify returns the *local.Error to print for err. An error from this process is
// printed whole, since its text is about the caller's own files.
func classify(ctx context.Context, err error) *local.Error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err())) {
		return local.Errorf(local.CodeInterrupted, "interrupted")
	}
	if e, ok := errors.AsType[*local.Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return local.Errorf(local.CodeTimeout, "%v", err)
	}
	_, path := errors.AsType[*fs.PathError](err)
	if e := local.IOError(err, "%v", err); path || e.Code == local.CodeDiskFull {
		return e
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return local.Errorf(local.CodeUnreachable, "%v", err)
	}
	return local.Errorf(local.CodeInternal, "%v", err)
}
