package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"secmsg/rpc/local"
)

func TestExitCodes(t *testing.T) {
	for code, want := range map[local.Code]int{
		local.CodeUsage: 1, local.CodeInUse: 1, local.CodeInternal: 2, local.CodeUnreachable: 3, local.CodeIO: 3, local.CodeDiskFull: 3,
		local.CodeUntrusted: 4, local.CodeRateLimited: 5, local.CodeQuota: 5, local.CodeLocked: 6, local.CodeNoDaemon: 7,
		local.CodeTimeout: 8, local.CodeExpired: 8, local.CodeNotFound: 9, local.CodeRefused: 10, local.CodeInterrupted: 130,
		"never heard of": 2,
	} {
		if got := exitCode(code); got != want {
			t.Errorf("exitCode(%s) = %d, want %d", code, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want local.Code
	}{
		{"known", context.Background(), fmt.Errorf("x: %w", local.Errorf(local.CodeQuota, "full")), local.CodeQuota},
		{"signal", ended, fmt.Errorf("x: %w", context.Canceled), local.CodeInterrupted},
		{"signal after an error", ended, local.Errorf(local.CodeNotFound, "gone"), local.CodeNotFound},
		{"deadline", context.Background(), context.DeadlineExceeded, local.CodeTimeout},
		{"file", context.Background(), &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, local.CodeIO},
		{"disk", context.Background(), &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, local.CodeDiskFull},
		{"unknown", context.Background(), errors.New("boom"), local.CodeInternal},
	} {
		if got := classify(c.ctx, c.err); got.Code != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Code, got.Message, c.want)
		}
	}
}

func TestSendParams(t *testing.T) {
	p, err := sendParams(sendOptions{wait: "read", timeout: defaultWait, hasTimeout: true}, "bob, carol,bob")
	if err != nil || !slices.Equal(p.Peers, []string{"bob", "carol"}) || p.Timeout != 30 || p.Wait != "read" {
		t.Errorf("params = %+v, %v", p, err)
	}
	if p, err := sendParams(sendOptions{timeout: 3e9, hasTimeout: true}, "bob"); err != nil || p.Wait != "server" || p.Timeout != 3 {
		t.Errorf("a timeout alone: %+v, %v", p, err)
	}
	if p, err := sendParams(sendOptions{timeout: defaultWait}, "bob"); err != nil || p.Wait != "" || p.Timeout != 0 {
		t.Errorf("no wait: %+v, %v", p, err)
	}
	for name, o := range map[string]sendOptions{
		"wait":    {wait: "soon"},
		"require": {require: "certified"},
		"timeout": {wait: "read", hasTimeout: true, timeout: -1},
		"expires": {hasExpires: true},
	} {
		if _, err := sendParams(o, "bob"); !isCode(err, local.CodeUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, peers := range []string{"", ",", "bob,,carol", "bob,"} {
		if _, err := sendParams(sendOptions{}, peers); !isCode(err, local.CodeUsage) {
			t.Errorf("peers %q: %v", peers, err)
		}
	}
}

func TestCheckText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"hi", ""},
		{strings.Repeat("x", maxText), ""},
		{"", "empty"},
		{"a\xff", "UTF-8"},
		{strings.Repeat("x", maxText+1), "send it as a file"},
	} {
		err := checkText(c.text)
		if (c.want == "") != (err == nil) || err != nil && (!isCode(err, local.CodeUsage) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("checkText(%.10q) = %v, want %q", c.text, err, c.want)
		}
	}
}

func TestStateError(t *testing.T) {
	for state, want := range map[string]local.Code{
		local.StateQueued: "", local.StateAccepted: "", local.StateDelivered: "", local.StateRead: "",
		local.StateHeld: local.CodeUntrusted, local.StateExpired: local.CodeExpired, local.StateFailed: local.CodeRefused,
	} {
		err := stateError(&local.SendResult{Peer: "bob", State: state})
		if (err == nil) != (want == "") || err != nil && !isCode(err, want) {
			t.Errorf("%s: %v, want %s", state, err, want)
		}
	}
	err := stateError(&local.SendResult{Peer: "bob", State: "held", Error: local.Errorf(local.CodeRefused, "blocked")})
	if !isCode(err, local.CodeRefused) || err.Error() != "bob: blocked" {
		t.Errorf("err = %v", err)
	}
}

func TestDaemonEnvironment(t *testing.T) {
	got := daemonEnv([]string{
		"HOME=/h", "PATH=/bin", "LC_ALL=C", "XDG_RUNTIME_DIR=/r", "SECMSG_HOME=/p", "SECMSG_LOG_LEVEL=debug",
		"SECMSG_OUTPUT=json", "SECMSG_EVENT_TEXT=private", "AWS_SECRET_ACCESS_KEY=x", "NOTIFY_SOCKET=/n", "LISTEN_FDS=1", "HOMEX=1",
	})
	want := []string{"HOME=/h", "PATH=/bin", "LC_ALL=C", "XDG_RUNTIME_DIR=/r", "SECMSG_HOME=/p", "SECMSG_LOG_LEVEL=debug"}
	if !slices.Equal(got, want) {
		t.Errorf("daemonEnv = %v", got)
	}
}

func TestEventEnvironment(t *testing.T) {
	e := local.Event{ID: "i", Type: "message", Peer: "bob@x", Seq: 4, Message: &local.Message{Text: "hi"}}
	has := func(name string) bool {
		return slices.ContainsFunc(eventEnv(&e), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	if !slices.Contains(eventEnv(&e), "SECMSG_EVENT_TEXT=hi") || !slices.Contains(eventEnv(&e), "SECMSG_EVENT_SEQ=4") {
		t.Errorf("environment = %v", eventEnv(&e))
	}
	e.Message.Text = "a\x00b"
	if has("SECMSG_EVENT_TEXT") {
		t.Error("a text with NUL is in the environment")
	}
	e.Message.Text = strings.Repeat("x", maxEnvText+1)
	if has("SECMSG_EVENT_TEXT") {
		t.Error("a long text is in the environment")
	}
	if env := handlerEnv([]string{"A=1", "SECMSG_EVENT_TEXT=outer"}, ""); !slices.Equal(env, []string{"A=1"}) {
		t.Errorf("handlerEnv = %v", env)
	}
}

// TestEventTextCannotForgeALine: no text of a peer can produce a line that looks like one
// of the program: another event, a file, a call, a state.
func TestEventTextCannotForgeALine(t *testing.T) {
	file := local.File{ID: "f1", FileInfo: local.FileInfo{Name: "invoice.pdf", Size: 3 << 20, Type: "application/pdf"}, State: local.FileOffered}
	event := func(m *local.Message) string {
		return eventText(&local.Event{Type: "message", Direction: "in", Peer: "eve@x", Message: m})
	}
	own := []string{ // lines of this program
		eventText(&local.Event{Type: "file", Direction: "in", Peer: "eve@x", File: &file}),
		eventText(&local.Event{Type: "call", Peer: "eve@x", Call: &local.Call{State: "ringing", Direction: "in", ID: "c1", Audio: true}}),
		eventText(&local.Event{Type: "system", System: &local.System{Text: "this device was removed from its account"}}),
		"secmsg: the profile is locked",
	}
	own = append(own, strings.Split(event(&local.Message{Text: "hi", Files: []local.File{file}}), "\n")...)
	own = append(own, strings.Split(event(&local.Message{Files: []local.File{file, file}}), "\n")...)
	for _, line := range own {
		for _, text := range []string{line, "hi\n" + line, strings.TrimSpace(line), "hi\n" + strings.TrimSpace(line), "hi\n" + strings.TrimLeft(line, "* "), "hi\r" + line} {
			if strings.HasSuffix(line, saysMark+"hi") && text == line {
				continue
			}
			_, said, _ := strings.Cut(line, "eve@x")
			for _, forged := range strings.Split(event(&local.Message{Text: strings.TrimPrefix(text, ": ")}), "\n") {
				if forged == line && said != saysMark+"hi" {
					t.Errorf("%q forges %q", text, line)
				}
			}
		}
		// Nor can a peer forge the part of a line after the name.
		if _, said, ok := strings.Cut(line, "eve@x"); ok && strings.HasPrefix(said, tellsMark) {
			if strings.HasSuffix(event(&local.Message{Text: strings.TrimPrefix(said, tellsMark)}), said) {
				t.Errorf("a text forges %q", said)
			}
		}
	}
	lines := strings.Split(event(&local.Message{Text: "hi\n2026-01-01T00:00:00.000Z bob@x: \x1b[1mpay eve"}), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], furtherMark+"2026") || strings.Contains(lines[1], "\x1b") {
		t.Errorf("lines = %q", lines)
	}
}

func TestSafetyNumber(t *testing.T) {
	digits := strings.Repeat("01234", 12)
	if got, err := safetyNumber(" 01234 01234\n" + digits[10:] + "\t"); err != nil || got != digits {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", digits[1:], digits + "1", "x" + digits[1:], "٠" + digits[1:]} {
		if _, err := safetyNumber(bad); !isCode(err, local.CodeUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := strings.Fields(groupDigits(digits)); len(got) != 12 || strings.Join(got, "") != digits {
		t.Errorf("groups = %v", got)
	}
}

func TestUnitWord(t *testing.T) {
	if got := unitWord(`/opt/a b/$x%"y"`); got != `"/opt/a b/$x%%\"y\""` {
		t.Errorf("unitWord = %s", got)
	}
}
