package local

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Code is a stable error code; each maps to one exit code of the command line.
type Code string

// The codes, grouped by exit code.
const (
	CodeUsage       Code = "usage"        // 1: usage or user error
	CodeInUse       Code = "in_use"       // 1: another daemon runs on this profile
	CodeInternal    Code = "internal"     // 2: unexpected internal error
	CodeUnreachable Code = "unreachable"  // 3: network or server unreachable
	CodeIO          Code = "io"           // 3: a local file or stream failed
	CodeDiskFull    Code = "disk_full"    // 3: no space left on a disk
	CodeUntrusted   Code = "untrusted"    // 4: an identity is not trusted, or a message is held for it
	CodeRateLimited Code = "rate_limited" // 5: too many requests; try again after retry_after
	CodeQuota       Code = "quota"        // 5: a quota is used up
	CodeLocked      Code = "locked"       // 6: the profile is locked by its passphrase
	CodeNoDaemon    Code = "no_daemon"    // 7: daemon unreachable
	CodeTimeout     Code = "timeout"      // 8: timed out waiting for the requested state
	CodeExpired     Code = "expired"      // 8: the message expired first
	CodeNotFound    Code = "not_found"    // 9: peer, message, file or call not found
	CodeRefused     Code = "refused"      // 10: refused by the peer, the server or a busy daemon
	CodeInterrupted Code = "interrupted"  // 130: this side interrupted it
)

// ErrCallerLeft is the cause with which the context of a request ends when its
// caller has closed the connection, as opposed to a daemon that stops.
var ErrCallerLeft = errors.New("the caller left")

// Error is an error as it crosses the socket and as `-o json` prints it. The
// message is safe to show; internal details stay in the daemon's log.
type Error struct {
	// Code is stable; programs decide by it.
	Code Code `json:"code"`
	// Message is for people; its wording may change.
	Message string `json:"message"`
	// Retryable says that the same request may succeed later.
	Retryable bool `json:"retryable"`
	// Cause narrows the code down, where more is known. A reader treats a cause
	// that it does not know as absent.
	Cause Cause `json:"cause,omitempty"`
	// Host is the server that the error is about, as HOST:PORT.
	Host string `json:"host,omitempty"`
	// Hint is a command to type or another remedy.
	Hint string `json:"hint,omitempty"`
	// RetryAfter is the wait before a retry makes sense, in seconds, where it is known.
	RetryAfter float64 `json:"retry_after,omitempty"`
	// Candidates lists what an ambiguous name or id could mean.
	Candidates []string `json:"candidates,omitempty"`
}

// Cause is a stable name that narrows a Code down.
type Cause string

// The causes. certificate comes with the code untrusted, suspended and revoked
// with refused, disk and permission with disk_full and io, cancelled with usage;
// the others come with unreachable.
const (
	CauseDNS            Cause = "dns"             // the server's name does not resolve
	CauseConnectRefused Cause = "connect_refused" // nothing listens on its port
	CauseConnectTimeout Cause = "connect_timeout" // it does not answer
	CauseNoRoute        Cause = "no_route"        // this network has no route to it
	CauseTLS            Cause = "tls"             // it does not speak TLS 1.3
	CauseCertificate    Cause = "certificate"     // it could not prove that it belongs to the realm
	CauseProxy          Cause = "proxy"           // the proxy refuses the connection or fails
	CauseNotSecmsg      Cause = "not_secmsg"      // another service answers
	CauseVersion        Cause = "version"         // it speaks another version of the protocol
	CauseSuspended      Cause = "suspended"       // an administrator suspended the account
	CauseRevoked        Cause = "revoked"         // the device was removed from its account
	CauseClock          Cause = "clock"           // this machine's clock is wrong
	CauseDisk           Cause = "disk"            // a disk is full or failed
	CausePermission     Cause = "permission"      // the operating system does not permit it
	CauseCancelled      Cause = "cancelled"       // the message was withdrawn by its sender
)

// Error returns the text.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error with a formatted message.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...), Retryable: retryable(c)}
}

// WithHint returns a copy of e with a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy of e with a cause.
func (e *Error) WithCause(cause Cause) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithCandidates returns a copy of e with candidates.
func (e *Error) WithCandidates(candidates ...string) *Error {
	c := *e
	c.Candidates = candidates
	return &c
}

// IOError returns the Error of a file, stream or system call that failed with err: disk_full or io,
// with a cause if err reveals it.
func IOError(err error, format string, args ...any) *Error {
	e := Errorf(CodeIO, format, args...)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Code, e.Cause = CodeDiskFull, CauseDisk
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS):
		e.Cause = CauseDisk
	case errors.Is(err, fs.ErrPermission):
		e.Cause = CausePermission
	}
	return e
}

// As returns the *Error in err's chain. Any other error becomes "internal" with a text without details,
// so that nothing unexpected leaks out.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Errorf(CodeInternal, "internal error; see the daemon's log for details")
}

func retryable(c Code) bool {
	switch c {
	case CodeUnreachable, CodeIO, CodeDiskFull, CodeRateLimited, CodeQuota, CodeTimeout, CodeNoDaemon:
		return true
	}
	return false
}
