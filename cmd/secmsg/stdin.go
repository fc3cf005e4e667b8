package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"

	"secmsg/rpc/local"

	"golang.org/x/term"
)

// maxSecret bounds a passphrase or an invite in bytes.
const maxSecret = 4096

// await runs f, which may block in a read that cannot be interrupted. It returns early
// when ctx ends and leaves f's goroutine behind, since the process is about to exit.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// readStdin reads all of standard input. If that is more than limit bytes, it returns
// tooLong.
func (a *app) readStdin(ctx context.Context, limit int64, tooLong *local.Error) ([]byte, error) {
	if err := a.needStdin(); err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) { return readAll(a.stdin, limit, tooLong) })
}

// needStdin fails if standard input was closed at the start. Otherwise it would read
// as empty.
func (a *app) needStdin() error {
	if a.std.stdin {
		return local.Errorf(local.CodeIO, "standard input is closed").WithHint("for an empty one: </dev/null")
	}
	return nil
}

// secretLine reads a passphrase, the first line of a file ("-" for standard input). If
// standard input is a terminal, the passphrase is typed without echo.
func (a *app) secretLine(ctx context.Context, path string) (string, error) {
	if path != "-" || a.std.stdin || !a.stdinTerminal() {
		return a.firstLine(ctx, path, "the passphrase")
	}
	secret, err := a.askSecret(ctx, "Passphrase:")
	if err == nil && secret == "" {
		return "", usagef("the passphrase is empty")
	}
	return secret, err
}

// newSecretLine is secretLine for a new passphrase, which must be typed twice.
func (a *app) newSecretLine(ctx context.Context, path string) (string, error) {
	first, err := a.secretLine(ctx, path)
	if err != nil || path != "-" || !a.stdinTerminal() {
		return first, err
	}
	return first, a.again(ctx, first)
}

// again asks for a new passphrase a second time and compares it.
func (a *app) again(ctx context.Context, first string) error {
	second, err := a.askSecret(ctx, "Repeat the passphrase:")
	if err == nil && first != second {
		err = usagef("the passphrases do not match")
	}
	return err
}

// firstLine reads the first line of a file ("-": standard input), such as a passphrase.
func (a *app) firstLine(ctx context.Context, path, what string) (string, error) {
	return await(ctx, func() (string, error) {
		var r io.Reader = a.stdin
		if path == "-" {
			if err := a.needStdin(); err != nil {
				return "", err
			}
		} else {
			f, err := os.Open(path)
			if err != nil {
				return "", local.IOError(err, "cannot read %s: %v", what, err)
			}
			defer f.Close()
			r = f
		}
		line, err := local.ReadLine(bufio.NewReader(r), maxSecret)
		if err != nil && err != io.EOF {
			return "", usagef("cannot read %s: %v", what, err)
		}
		// Windows editors begin a file with a byte order mark and end lines with CRLF.
		s := strings.TrimSuffix(strings.TrimPrefix(string(line), "\ufeff"), "\r")
		if s == "" {
			return "", usagef("%s is empty", what)
		}
		return s, nil
	})
}

// interactive reports whether questions can be asked: standard input and standard
// error are a terminal.
func (a *app) interactive() bool { return a.stdinTerminal() && a.stderrTerminal() }

// ask asks a question on the terminal and returns the answer.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	a.tell(question + " ")
	line, err := await(ctx, func() ([]byte, error) { return local.ReadLine(bufio.NewReader(a.stdin), maxSecret) })
	if err == io.EOF {
		return "", nil
	}
	return strings.TrimSpace(string(line)), err
}

// askSecret asks a question without echo. It restores the terminal if ctx ends.
func (a *app) askSecret(ctx context.Context, question string) (string, error) {
	fd := int(a.stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", local.IOError(err, "cannot read from the terminal: %v", err)
	}
	a.tell(question + " ")
	secret, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	a.tell("\n")
	if err != nil {
		_ = term.Restore(fd, state)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", local.IOError(err, "cannot read from the terminal: %v", err)
	}
	return string(secret), nil
}

// confirm asks before an action that cannot be undone. Without a terminal it returns
// a usage error that names the flag --yes.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.interactive() {
		return usagef("%s", question).WithHint("there is no terminal to ask for confirmation; to confirm, use --yes")
	}
	answer, err := a.ask(ctx, question+" [y/N]")
	if err != nil {
		return err
	}
	if s := strings.ToLower(answer); s != "y" && s != "yes" {
		return usagef("nothing was done")
	}
	return nil
}
