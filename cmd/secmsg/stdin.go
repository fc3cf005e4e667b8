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

// await runs f, which may block in a read that nothing can interrupt, and
// returns early when ctx ends; the process is about to end then.
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

// readStdin reads standard input whole, up to limit bytes.
func (a *app) readStdin(ctx context.Context, limit int64, tooLong *local.Error) ([]byte, error) {
	if err := a.needStdin(); err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) { return readAll(a.stdin, limit, tooLong) })
}

// needStdin fails if standard input was closed at the start: it would read as empty.
func (a *app) needStdin() error {
	if a.std.stdin {
		return local.Errorf(local.CodeIO, "standard input is closed").WithHint("for an empty one: </dev/null")
	}
	return nil
}

// secretLine reads a passphrase: the first line of a file ("-": standard input).
// Where standard input is a terminal a person types it, so it is not shown.
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

// newSecretLine is secretLine for a passphrase that is chosen now: typed, it is
// asked for twice.
func (a *app) newSecretLine(ctx context.Context, path string) (string, error) {
	first, err := a.secretLine(ctx, path)
	if err != nil || path != "-" || !a.stdinTerminal() {
		return first, err
	}
	return first, a.again(ctx, first)
}

// again asks for a passphrase a second time.
func (a *app) again(ctx context.Context, first string) error {
	second, err := a.askSecret(ctx, "Again:")
	if err == nil && first != second {
		err = usagef("the passphrases differ")
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
				return "", local.IOError(err, "read %s: %v", what, err)
			}
			defer f.Close()
			r = f
		}
		line, err := local.ReadLine(bufio.NewReader(r), maxSecret)
		if err != nil && err != io.EOF {
			return "", usagef("read %s: %v", what, err)
		}
		// Editors of Windows begin a file with a mark and end its lines with CR.
		s := strings.TrimSuffix(strings.TrimPrefix(string(line), "\ufeff"), "\r")
		if s == "" {
			return "", usagef("%s is empty", what)
		}
		return s, nil
	})
}

// interactive reports whether a question can be asked: standard input and
// standard error are a person's terminal.
func (a *app) interactive() bool { return a.stdinTerminal() && a.stderrTerminal() }

// ask asks a question on the terminal and returns the line that is typed.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	a.tell(question + " ")
	line, err := await(ctx, func() ([]byte, error) { return local.ReadLine(bufio.NewReader(a.stdin), maxSecret) })
	if err == io.EOF {
		return "", nil
	}
	return strings.TrimSpace(string(line)), err
}

// askSecret asks without echo. The terminal is put right if ctx ends meanwhile.
func (a *app) askSecret(ctx context.Context, question string) (string, error) {
	fd := int(a.stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", local.IOError(err, "terminal: %v", err)
	}
	a.tell(question + " ")
	secret, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	a.tell("\n")
	if err != nil {
		_ = term.Restore(fd, state)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", local.IOError(err, "terminal: %v", err)
	}
	return string(secret), nil
}

// confirm asks before something that cannot be taken back. Without a terminal
// it is a usage error that names the flag.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.interactive() {
		return usagef("%s", question).WithHint("without a terminal --yes is needed")
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
