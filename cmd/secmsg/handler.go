package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

const (
	// handlerPauseMin and handlerPauseMax bound the pause after a handler failed.
	handlerPauseMin = time.Second
	handlerPauseMax = time.Minute
	// maxEnvText is the longest text in bytes that is put into a handler's
	// environment. Linux allows 128 KiB for one string, other systems less in total.
	maxEnvText = 32 << 10
	// handlerKill is how long a handler may take to exit after SIGTERM.
	handlerKill = 5 * time.Second
)

// handle runs a handler for one event. The event is on its standard input as JSON; a
// handler need not read it.
func (a *app) handle(ctx context.Context, command string, e *local.Event) error {
	line, err := marshalLine(e)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(handlerEnv(os.Environ(), a.home), eventEnv(e)...)
	cmd.Stdin = bytes.NewReader(line)
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if !a.stdinTerminal() {
		// A process group of its own lets the shell's children be ended too, so that they
		// do not run beside the next attempt. At a terminal the handler stays in the
		// foreground group: Ctrl-C reaches it there, and it may read from the terminal.
		cmd.SysProcAttr = ownGroup()
		cmd.Cancel = func() error { return endGroup(cmd.Process) }
	}
	cmd.WaitDelay = handlerKill
	err = cmd.Run()
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case ok:
		return usagef("the handler failed with %v", exit)
	}
	return local.IOError(err, "cannot run the handler: %v", err)
}

// handlerEnv returns the environment of a handler: that of this command without the
// event variables of an outer handler, and with SECMSG_HOME, so that a secmsg that
// the handler runs uses the same profile.
func handlerEnv(env []string, home string) []string {
	out := make([]string, 0, len(env)+8)
	for _, v := range env {
		if !strings.HasPrefix(v, "SECMSG_EVENT_") {
			out = append(out, v)
		}
	}
	if home != "" {
		if p, err := config.ResolvePaths(home); err == nil {
			out = append(out, "SECMSG_HOME="+p.Home)
		}
	}
	return out
}

// eventEnv describes an event in environment variables. A text that is too long or
// holds a NUL is on standard input only.
func eventEnv(e *local.Event) []string {
	env := []string{
		"SECMSG_EVENT_ID=" + e.ID,
		"SECMSG_EVENT_TYPE=" + e.Type,
		"SECMSG_EVENT_PEER=" + e.Peer,
		"SECMSG_EVENT_TIME=" + timeText(e.Time),
		"SECMSG_EVENT_SEQ=" + strconv.FormatInt(e.Seq, 10),
	}
	if e.Message != nil && len(e.Message.Text) <= maxEnvText && !strings.ContainsRune(e.Message.Text, 0) {
		env = append(env, "SECMSG_EVENT_TEXT="+e.Message.Text)
	}
	return env
}
