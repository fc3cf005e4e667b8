package local

import (
	"errors"
	"fmt"
)

// Code is a stable error code; each maps to one exit code of the command line.
type Code string

// The codes, grouped as their exit codes are.
const (
	CodeUsage       Code = "usage"        // 1: usage or user error
	CodeInternal    Code = "internal"     // 2: unexpected internal error
	CodeUnreachable Code = "unreachable"  // 3: network or server unreachable
	CodeIO          Code = "io"           // 3: a local file or stream failed
	CodeDiskFull    Code = "disk_full"    // 3: no space where the profile lives
	CodeUntrusted   Code = "untrusted"    // 4: identity not trusted; a message held for it
	CodeRateLimited Code = "rate_limited" // 5: try again after retry_after
	CodeQuota       Code = "quota"        // 5: a quota is used up
	CodeLocked      Code = "locked"       // 6: the profile is locked by its passphrase
	CodeNoDaemon    Code = "no_daemon"    // 7: daemon unreachable
	CodeTimeout     Code = "timeout"      // 8: the wait did not come true in time
	CodeExpired     Code = "expired"      // 8: the message's own life ended first
	CodeNotFound    Code = "not_found"    // 9: peer, message, file or call not found
	CodeRefused     Code = "refused"      // 10: refused by the other side
	CodeInterrupted Code = "interrupted"  // 130
)

// ErrCallerLeft is why the context of a request ends whose caller has closed its
// connection, as opposed to a daemon that stops.
var ErrCallerLeft = errors.New("the caller left")

// Error is an error as it crosses the socket and as `-o json` prints it. The
// message is safe to show; what is behind it stays in the daemon's log.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	// RetryAfter is in seconds; 0 when unknown.
	RetryAfter float64 `json:"retry_after,omitempty"`
	// Hint is what to do about it, when there is a remedy.
	Hint string `json:"hint,omitempty"`
}

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

// As returns the *Error in err's chain; any other error becomes "internal" with
// a text that names no details, so that nothing unexpected leaks out.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Errorf(CodeInternal, "internal error; the daemon's log has the details")
}

func retryable(c Code) bool {
	switch c {
	case CodeUnreachable, CodeIO, CodeDiskFull, CodeRateLimited, CodeQuota, CodeTimeout, CodeNoDaemon:
		return true
	}
	return false
}
