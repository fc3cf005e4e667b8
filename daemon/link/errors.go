package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"secmsg/rpc/wire"
)

// Errors on which callers branch.
var (
	// ErrDown says that the contact connection does not stand, or that it broke
	// while something was handed to it: whatever was not answered is sent again
	// on the next one.
	ErrDown = errors.New("not connected to the server")
	// ErrUnreachable says that no connection, or no whole answer, was had.
	ErrUnreachable = errors.New("server unreachable")
	// ErrUntrusted says that what answered did not prove to be the pinned realm.
	ErrUntrusted = errors.New("server is not the pinned realm")
	// ErrProtocol says that the server broke a rule of the protocol.
	ErrProtocol = errors.New("server broke the protocol")
	// ErrBlobSize says that a blob has another size than it must have.
	ErrBlobSize = errors.New("the blob has another size")
	// ErrTooLarge says that something exceeds a limit of the protocol.
	ErrTooLarge = errors.New("exceeds a limit of the protocol")
)

// errNoAnswer ends a request whose answer does not come.
var errNoAnswer = fmt.Errorf("%w: no answer in time", ErrUnreachable)

// ByeError is the relay's reason for closing a connection.
type ByeError struct {
	Reason     wire.Reason
	RetryAfter time.Duration // 0: not said
	Text       string        // the server's words, for logs and people
}

// Error names the reason.
func (e *ByeError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("server closed the connection: %s", e.Reason)
	}
	return fmt.Sprintf("server closed the connection: %s: %q", e.Reason, e.Text)
}

// Kind is what an error of this package means to its caller.
type Kind string

// The kinds. Each maps to one code of the local RPC, except the ones of a join.
const (
	KindUnreachable Kind = "unreachable"  // no network, no server, or one that cannot serve now
	KindUntrusted   Kind = "untrusted"    // not the pinned realm, or a wrong clock
	KindRateLimited Kind = "rate_limited" // see Wait
	KindQuota       Kind = "quota"
	KindNotFound    Kind = "not_found"
	KindRefused     Kind = "refused"    // the server does not let this account or device do it
	KindInvite      Kind = "invite"     // unknown, used, expired or revoked invite
	KindNameTaken   Kind = "name_taken" // the account name is in use
	KindConflict    Kind = "conflict"   // compare-and-set failed
	KindVersion     Kind = "version"    // the server speaks another protocol version
	KindCanceled    Kind = "canceled"   // the caller gave up
	KindInternal    Kind = "internal"   // anything else
)

// KindOf classifies any error that this package returned; "" for nil.
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

// fatalReason returns the reason that ends this copy of the device for good, or
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

// unreachable wraps a transport error of op, keeping what is typed already and
// what the caller itself caused.
func unreachable(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if errors.Is(err, ErrUntrusted) || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrProtocol) || wire.CodeOf(err) != "" {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrUnreachable, err)
}

// statusError is the error for an answer that carries no error body of ours,
// from a proxy for example.
func statusError(status int) error {
	switch {
	case status == http.StatusTooManyRequests:
		return &wire.Error{Code: wire.CodeRateLimited, Message: "the server limits requests"}
	case status == http.StatusRequestEntityTooLarge:
		return &wire.Error{Code: wire.CodeTooLarge, Message: "a proxy before the server does not let a body of this size through (HTTP status 413): its operator must allow 9 MiB, in nginx with client_max_body_size"}
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError && status != http.StatusNetworkAuthenticationRequired:
		return &statusErr{kind: ErrUnreachable, status: status}
	}
	// 511 is the portal of a network that wants a login first.
	return &statusErr{kind: ErrProtocol, status: status}
}

// statusErr is a failed answer without an error body of ours.
type statusErr struct {
	kind   error
	status int
}

func (e *statusErr) Error() string { return fmt.Sprintf("%v: HTTP status %d", e.kind, e.status) }

func (e *statusErr) Unwrap() error { return e.kind }
