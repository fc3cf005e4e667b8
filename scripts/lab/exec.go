package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"secmsg/rpc/local"
)

// Result is the result of one command.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit code; -1 if a signal ended it
	Took           time.Duration
}

// Err describes a command that failed, nil if it exited 0.
func (r Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("%q: exit %d\n%s%s", r.Args, r.Code, r.Stdout, r.Stderr)
}

// env returns an environment without the caller's variables that could have an effect.
func (w *World) env(extra []string) []string {
	return append([]string{"HOME=" + w.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "SECMSG_NO_MANAGER=1"}, extra...)
}

// Exec runs one command to its end. It returns an error only if the command could not be run.
func (w *World) Exec(ctx context.Context, stdin string, args ...string) (Result, error) {
	return w.exec(ctx, w.clientEnv, stdin, args)
}

// ExecEnv is Exec with additional environment variables.
func (w *World) ExecEnv(ctx context.Context, env []string, stdin string, args ...string) (Result, error) {
	return w.exec(ctx, slices.Concat(w.clientEnv, env), stdin, args)
}

func (w *World) exec(ctx context.Context, env []string, stdin string, args []string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.bin, args...)
	cmd.Env = w.env(env)
	// A daemon that kept the output of the command that started it open would make Run wait for ever.
	// With this it returns an error.
	cmd.WaitDelay = stopTimeout
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	r := Result{Args: args, Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(start)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		r.Code = exit.ExitCode()
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("%q: %w (%w)\n%s%s", args, err, context.Cause(ctx), r.Stdout, r.Stderr)
	}
	return r, nil
}

// Run runs a command of a user.
func (w *World) Run(ctx context.Context, user, stdin string, args ...string) (Result, error) {
	w.know(user)
	return w.Exec(ctx, stdin, append([]string{"--home", w.Home(user)}, args...)...)
}

// Command prepares a command of a user for a caller that starts it, feeds it or ends it in its own way.
func (w *World) Command(ctx context.Context, user string, args ...string) *exec.Cmd {
	w.know(user)
	cmd := exec.CommandContext(ctx, w.bin, append([]string{"--home", w.Home(user)}, args...)...)
	cmd.Env = w.env(w.clientEnv)
	cmd.WaitDelay = stopTimeout // see exec
	return cmd
}

// Must is Run for a command that must exit 0. It returns standard output.
func (w *World) Must(ctx context.Context, user, stdin string, args ...string) (string, error) {
	r, err := w.Run(ctx, user, stdin, args...)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return r.Stdout, fmt.Errorf("%s: %w", user, err)
	}
	return r.Stdout, nil
}

// know records that user may have a daemon.
func (w *World) know(user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users[user] = true
}

// Invite creates an invite for uses accounts.
func (w *World) Invite(ctx context.Context, uses int) (string, error) {
	r, err := w.Exec(ctx, "", "admin", "invite", "create", "--uses", fmt.Sprint(uses), "--data", w.ServerDir(), "-o", "json")
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return "", fmt.Errorf("invite: %w", err)
	}
	var made struct{ Invite string }
	if err := json.Unmarshal([]byte(r.Stdout), &made); err != nil {
		return "", fmt.Errorf("invite create printed %q: %w", r.Stdout, err)
	}
	return made.Invite, nil
}

// Join registers an account for user.
func (w *World) Join(ctx context.Context, user string) error {
	invite, err := w.Invite(ctx, 1)
	if err != nil {
		return err
	}
	_, err = w.Must(ctx, user, invite, "join", "-", "--name", user)
	return err
}

// Befriend makes two users contacts of each other, and waits until the server knows. Daemons report
// contacts in their own time; until then one user is a stranger to the other and may leave only one
// request.
func (w *World) Befriend(ctx context.Context, a, b string) error {
	if _, err := w.Must(ctx, a, "", "contact", "add", b); err != nil {
		return err
	}
	if _, err := w.Must(ctx, b, "", "contact", "add", a); err != nil {
		return err
	}
	if err := w.waitMutual(ctx, a, b); err != nil {
		return err
	}
	return w.waitMutual(ctx, b, a)
}

// waitMutual waits until the server reports to user that peer has it as a contact, too.
func (w *World) waitMutual(ctx context.Context, user, peer string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	var last error
	err := Poll(ctx, user+" and "+peer+" are contacts of each other", func() bool {
		var out string
		if out, last = w.Must(ctx, user, "", "presence", peer, "-o", "json"); last != nil {
			return false
		}
		var p local.Presence
		last = json.Unmarshal([]byte(out), &p)
		return last == nil && p.Mutual
	})
	return errors.Join(err, last)
}

// Status returns the status from a user's daemon, which is started if necessary.
func (w *World) Status(ctx context.Context, user string) (local.Status, error) {
	var st local.Status
	out, err := w.Must(ctx, user, "", "status", "-o", "json")
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return st, fmt.Errorf("status printed %q: %w", out, err)
	}
	return st, nil
}

// WaitConnected waits until both connections of a user's accounts are up.
func (w *World) WaitConnected(ctx context.Context, user string) error {
	var last error
	err := Poll(ctx, user+" is connected", func() bool {
		var st local.Status
		st, last = w.Status(ctx, user)
		return last == nil && len(st.Accounts) > 0 &&
			!slices.ContainsFunc(st.Accounts, func(a local.AccountStatus) bool { return !a.Connected })
	})
	return errors.Join(err, last)
}

// History returns all messages exchanged with a peer, oldest first.
func (w *World) History(ctx context.Context, user, peer string, limit int) ([]local.Event, error) {
	out, err := w.Must(ctx, user, "", "history", peer, "-n", fmt.Sprint(limit), "-o", "json")
	if err != nil {
		return nil, err
	}
	return DecodeEvents(out)
}

// DecodeEvents decodes events, one per line.
func DecodeEvents(out string) ([]local.Event, error) {
	var events []local.Event
	for line := range strings.Lines(out) {
		var e local.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return events, fmt.Errorf("event %q: %w", line, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// Events returns the kept events of a type, after listening for a while: the stream has no end.
func (w *World) Events(ctx context.Context, user, typ, timeout string) ([]local.Event, error) {
	out, err := w.Must(ctx, user, "", "listen", "--since", "0", "--type", typ, "--timeout", timeout, "-o", "json")
	if err != nil {
		return nil, err
	}
	return DecodeEvents(out)
}
