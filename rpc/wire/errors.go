package wire

import (
	"errors"
	"fmt"
	"time"
)

// Code is a stable error code of the REST API.
type Code string

// The codes of the REST API, each with its HTTP status.
const (
	CodeMalformed    Code = "malformed"    // 400: the body or a field breaks a rule
	CodeUnauthorized Code = "unauthorized" // 401: missing, expired or wrong token or proof
	CodeForbidden    Code = "forbidden"    // 403: authenticated, but not allowed
	CodeSuspended    Code = "suspended"    // 403: the caller's own account is suspended, until an administrator resumes it
	CodeRevoked      Code = "revoked"      // 403: final: the device was removed from its account
	CodeNotFound     Code = "not_found"    // 404: no such account, device or route
	CodeInvite       Code = "invite"       // 403: the invite is unknown, used, expired or revoked
	CodeNameTaken    Code = "name_taken"   // 409: the account name is in use
	CodeConflict     Code = "conflict"     // 409: compare-and-set failed
	CodeVersion      Code = "version"      // 426: another protocol version
	CodeTooLarge     Code = "too_large"    // 413: the body exceeds its limit
	CodeRateLimited  Code = "rate_limited" // 429: see retry_after
	CodeQuota        Code = "quota"        // 429: a stored quota is used up
	CodeUnavailable  Code = "unavailable"  // 503: the server cannot serve this now
	CodeInternal     Code = "internal"     // 500
)

// Status returns the HTTP status of a code.
func (c Code) Status() int {
	switch c {
	case CodeMalformed:
		return 400
	case CodeUnauthorized:
		return 401
	case CodeForbidden, CodeSuspended, CodeInvite, CodeRevoked, CodeTicket:
		return 403
	case CodeNotFound:
		return 404
	case CodeNameTaken, CodeConflict:
		return 409
	case CodeTooLarge:
		return 413
	case CodeVersion:
		return 426
	case CodeRateLimited, CodeQuota:
		return 429
	case CodeUnavailable:
		return 503
	}
	return 500
}

// Error is the body of every failed REST call: {"error":{...}}. Message is
// safe to show to a person.
type Error struct {
	Code       Code    `json:"code" enum:"malformed,unauthorized,forbidden,suspended,revoked,not_found,invite,name_taken,conflict,version,too_large,rate_limited,quota,unavailable,internal,ticket" doc:"stable; what each means and its HTTP status stand in PROTOCOL.md, section 2"`
	Message    string  `json:"message" doc:"for a person; its words may change"`
	RetryAfter float64 `json:"retry_after,omitempty" doc:"seconds to wait before the next try"`
}

// Error formats the code and the text.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Wait returns the delay before the next try, at most MaxRetryAfter, or 0 if the server gave none.
func (e *Error) Wait() time.Duration { return WaitSeconds(e.RetryAfter) }

// ErrorBody is the body of a failed response.
type ErrorBody struct {
	Error *Error `json:"error" doc:"what went wrong"`
}

// CodeOf returns the code of a REST error in err's chain, or "".
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
