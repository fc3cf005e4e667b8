package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// maxMessage bounds the text of an error in bytes, because it may quote field names that the client
// made up.
const maxMessage = 300

// refuse returns an API error. The text must be safe to show to anybody.
func refuse(c wire.Code, format string, args ...any) error {
	return &wire.Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// limited returns the error of an exceeded rate.
func limited(wait time.Duration) error {
	return &wire.Error{Code: wire.CodeRateLimited, Message: "too many requests", RetryAfter: math.Ceil(wait.Seconds()*10) / 10}
}

// errInvite returns the one answer for every invite that does not work, so that nobody learns which
// tokens exist.
func errInvite() error { return refuse(wire.CodeInvite, "the invite is not valid") }

// errProof returns the one answer for every failed login.
func errProof() error { return refuse(wire.CodeUnauthorized, "the login was refused") }

// errRevoked returns the answer to a login with the key of a device that was removed from its account.
// The client stops if a manifest confirms the removal.
func errRevoked() error {
	return refuse(wire.CodeRevoked, "this device was removed from its account")
}

// errToken returns the one answer for every token that is not valid here.
func errToken() error {
	return refuse(wire.CodeUnauthorized, "the token is missing, expired or not valid for this")
}

// errNoAccount returns the answer to a look-up of an unknown name.
func errNoAccount() error { return refuse(wire.CodeNotFound, "no such account") }

// response is an error as huma writes it.
type response struct{ err *wire.Error }

// Error formats the code and the text.
func (r *response) Error() string { return r.err.Error() }

// GetStatus implements huma.StatusError.
func (r *response) GetStatus() int { return r.err.Code.Status() }

// MarshalJSON writes the body of a failed call.
func (r *response) MarshalJSON() ([]byte, error) { return json.Marshal(wire.ErrorBody{Error: r.err}) }

// GetHeaders implements huma.HeadersError.
func (r *response) GetHeaders() http.Header {
	h := http.Header{}
	if r.err.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.err.RetryAfter))))
	}
	if r.err.Code == wire.CodeUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return h
}

// toResponse maps a handler's error: an error of the API passes, errors of the store get their code,
// and any other error is logged in full and becomes "internal".
func (a *API) toResponse(ctx context.Context, err error) *response {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return &response{e}
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &response{&wire.Error{Code: wire.CodeNotFound, Message: "not found"}}
	case errors.Is(err, store.ErrConflict):
		return &response{&wire.Error{Code: wire.CodeConflict, Message: "the stored version is different"}}
	case errors.Is(err, store.ErrFull):
		return &response{&wire.Error{Code: wire.CodeQuota, Message: "the quota is used up"}}
	}
	if ctx.Err() == nil {
		a.opt.Logger.ErrorContext(ctx, "request failed", "request", requestID(ctx), "error", err)
	}
	if errors.Is(err, store.ErrDisk) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &response{&wire.Error{Code: wire.CodeUnavailable, Message: "the server cannot do this now", RetryAfter: 5}}
	}
	return &response{&wire.Error{Code: wire.CodeInternal, Message: "internal error; the server's log has the details"}}
}

// writeError answers a request with an error, outside of huma.
func writeError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		e = &wire.Error{Code: wire.CodeInternal, Message: "internal error; the server's log has the details"}
	}
	r := &response{e}
	for k, v := range r.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.GetStatus())
	_ = json.NewEncoder(w).Encode(r) // an error means that the client is gone
}

// translate is a huma transformer that turns huma's own errors (validation, body size, content type)
// into ours. It leaves out values sent by the client.
func translate(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	ctx.SetHeader("Content-Type", "application/json")
	e := &wire.Error{Code: codeOfStatus(m.Status), Message: m.Detail}
	if e.Code == wire.CodeInternal {
		e.Message = "internal error; the server's log has the details"
	}
	if e.Code == wire.CodeMalformed {
		for _, d := range m.Errors {
			if d != nil {
				e.Message = fmt.Sprintf("%s: %s", d.Location, d.Message)
				break
			}
		}
	}
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage]
	}
	return &response{e}, nil
}

// codeOfStatus maps a status chosen by huma.
func codeOfStatus(status int) wire.Code {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return wire.CodeTooLarge
	case status == http.StatusRequestTimeout:
		return wire.CodeUnavailable // the connection stalled; the same request may succeed later
	case status >= 500:
		return wire.CodeInternal
	}
	return wire.CodeMalformed
}

// plainStatus is a huma context that answers 400 where huma would use a more specific status, so that
// codes and statuses follow one table.
type plainStatus struct{ humaContext }

// humaContext renames the embedded interface, which has a method Context.
type humaContext = huma.Context

// Unwrap lets adapters find their own context.
func (c plainStatus) Unwrap() huma.Context { return c.humaContext }

// SetStatus sets the status of the response.
func (c plainStatus) SetStatus(status int) {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType, http.StatusNotAcceptable:
		status = http.StatusBadRequest
	case http.StatusRequestTimeout:
		status = http.StatusServiceUnavailable
	}
	c.humaContext.SetStatus(status)
}
