package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"secmsg/rpc/wire"
)

// Errors that callers distinguish.
var (
	// ErrDown: there is no contact connection, or it broke during the call. Unanswered
	// envelopes must be sent again on the next one.
	ErrDown = errors.New("not connected to the server")
	// ErrUnreachable: there was no connection, or no complete answer.
	ErrUnreachable = errors.New("server unreachable")
	// ErrUntrusted: the other end did not prove to be the pinned realm.
	ErrUntrusted = errors.New("server is not the pinned realm")
	// ErrProtocol: the server violated the protocol.
	ErrProtocol = errors.New("server violated the protocol")
	// ErrBlobSize: a blob does not have the expected size.
	ErrBlobSize = errors.New("the blob has the wrong size")
	// ErrTooLarge: a limit of the protocol is exceeded.
	ErrTooLarge = errors.New("exceeds a limit of the protocol")
)

// errNoAnswer is the cause of a request's timeout.
var errNoAnswer = fmt.Errorf("%w: no answer in time", ErrUnreachable)

// ByeError is the relay's reason for closing a connection.
type ByeError struct {
	Reason     wire.Reason
	RetryAfter time.Duration // 0: not given
	Text       string        // the server's text, for logs and users
}

// Error returns the reason.
func (e *ByeError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("server closed the connection: %s", e.Reason)
	}
	return fmt.Sprintf("server closed the connection: %s: %q", e.Reason, e.Text)
}

// Kind classifies an error of this package for its caller.
type Kind string

// Kinds. Each corresponds to a code of the local RPC, except those of a join.
const (
	KindUnreachable Kind = "unreachable"  // no network, no server, or one that cannot serve now
	KindUntrusted   Kind = "untrusted"    // not the pinned realm, or a wrong clock
	KindRateLimited Kind = "rate_limited" // see Wait
	KindQuota       Kind = "quota"
	KindNotFound    Kind = "not_found"
	KindRefused     Kind = "refused"    // the server does not allow this account or device to do it
	KindInvite      Kind = "invite"     // unknown, used, expired or revoked invite
	KindNameTaken   Kind = "name_taken" // the account name is in use
	KindConflict    Kind = "conflict"   // compare-and-set failed
	KindVersion     Kind = "version"    // the server speaks another protocol version
	KindCanceled    Kind = "canceled"   // cancelled by the caller
	KindInternal    Kind = "internal"   // anything else
)

// KindOf classifies any error returned by this package; "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if bye, ok := errors.AsType[*ByeError](err); ok {
		return kindOfReason(bye.Reason)
	}
	if code := wire.CodeOf(err); code != "" {
		return kindOfCode(code)
	}
	switch {
	case errors.Is(err, ErrUntrusted):
		return KindUntrusted
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrDown), errors.Is(err, ErrProtocol):
		return KindUnreachable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return KindCanceled
	}
	return KindInternal
}

func kindOfCode(c wire.Code) Kind {
	switch c {
	case wire.CodeRateLimited:
		return KindRateLimited
	case wire.CodeQuota:
		return KindQuota
	case wire.CodeNotFound:
		return KindNotFound
	case wire.CodeUnauthorized, wire.CodeForbidden, wire.CodeSuspended, wire.CodeRevoked:
		return KindRefused
	case wire.CodeInvite:
		return KindInvite
	case wire.CodeNameTaken:
		return KindNameTaken
	case wire.CodeConflict:
		return KindConflict
	case wire.CodeVersion:
		return KindVersion
	case wire.CodeUnavailable, wire.CodeInternal:
		return KindUnreachable
	}
	return KindInternal
}

func kindOfReason(r wire.Reason) Kind {
	switch r {
	case wire.Reason_REASON_STALE_FENCE, wire.Reason_REASON_REVOKED, wire.Reason_REASON_SUSPENDED:
		return KindRefused
	case wire.Reason_REASON_RATE:
		return KindRateLimited
	}
	return KindUnreachable
}

// Wait returns how long the server asked to wait before the next try, or 0.
func Wait(err error) time.Duration {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Wait()
	}
	if e, ok := errors.AsType[*ByeError](err); ok {
		return e.RetryAfter
	}
	return 0
}

// fatalReason returns the reason why this copy of the device can never connect again, or
// REASON_UNSPECIFIED.
func fatalReason(err error) wire.Reason {
	if bye, ok := errors.AsType[*ByeError](err); ok {
		switch bye.Reason {
		case wire.Reason_REASON_STALE_FENCE, wire.Reason_REASON_REVOKED:
			return bye.Reason
		}
	}
	return wire.Reason_REASON_UNSPECIFIED
}

// unreachable wraps a transport error of op. It does not change errors that already have a
// type, or that the caller caused.
func unreachable(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if errors.Is(err, ErrUntrusted) || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrProtocol) || wire.CodeOf(err) != "" {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnreachable, err)
}

// statusError returns the error for an answer without our error body, such as a proxy's.
func statusError(status int) error {
	switch {
	case status == http.StatusTooManyRequests:
		return &wire.Error{Code: wire.CodeRateLimited, Message: "the server's rate limit was reached"}
	case status == http.StatusRequestEntityTooLarge:
		return &wire.Error{Code: wire.CodeTooLarge, Message: "a proxy in front of the server does not accept a body of this size (HTTP status 413): its operator must allow 9 MiB, in nginx with client_max_body_size"}
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError && status != http.StatusNetworkAuthenticationRequired:
		return &statusErr{kind: ErrUnreachable, status: status}
	}
	// 511 comes from a captive portal, where the user must log in first.
	return &statusErr{kind: ErrProtocol, status: status}
}

// statusErr is a failed answer without our error body.
type statusErr struct {
	kind   error
	status int
}

func (e *statusErr) Error() string { return fmt.Sprintf("%v: HTTP status %d", e.kind, e.status) }

func (e *statusErr) Unwrap() error { return e.kind }
