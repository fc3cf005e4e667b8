package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"secmsg/rpc/wire"
)

// ProtocolHeader carries the protocol version of a REST call.
const ProtocolHeader = "Secmsg-Protocol"

// requestIDHeader identifies the response in the server's log.
const requestIDHeader = "Secmsg-Request"

type requestIDKey struct{}

type clientAddrKey struct{}

// requestID returns the id that Guard gave to a request.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// clientAddr returns the limit key of the request's sender.
func clientAddr(ctx context.Context) string {
	key, _ := ctx.Value(clientAddrKey{}).(string)
	return key
}

// allowedHosts returns the names that a Host header may carry.
func allowedHosts(domain string, more []string) map[string]bool {
	hosts := map[string]bool{domain: true, "localhost": true, "127.0.0.1": true, "::1": true}
	for _, h := range more {
		hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	return hosts
}

// Guard wraps every handler of the public listener, including the relay's. It gives the request an id
// and a client address, and refuses requests from browser pages, recognized by their Origin header or
// by a foreign host name (DNS rebinding). It does not wrap the ResponseWriter.
func (a *API) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id [8]byte
		rand.Read(id[:])
		ctx := context.WithValue(r.Context(), requestIDKey{}, hex.EncodeToString(id[:]))
		ctx = context.WithValue(ctx, clientAddrKey{}, clientKey(r))
		w.Header().Set(requestIDHeader, requestID(ctx))
		if len(r.Header.Values("Origin")) > 0 {
			writeError(w, refuse(wire.CodeForbidden, "requests from browser pages are refused"))
			return
		}
		if !a.hosts[hostOf(r.Host)] {
			writeError(w, refuse(wire.CodeForbidden, "the Host header does not name this server"))
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// hostOf returns the name in a Host header in lower case, without port and brackets.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// needsProtocol reports whether a request must name the protocol version. Exempt are the three paths
// that people and monitors request, and tickets' URLs, which are used like those of any other store.
func needsProtocol(path string) bool {
	return !strings.HasPrefix(path, wire.PathBlobData) && path != PathHealth && path != PathOpenAPI && path != PathRealm
}

// front is the API's outermost handler after Guard: protocol version, unknown routes, panics and the
// access log.
func (a *API) front(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := a.opt.Now()
		rec := &recorder{ResponseWriter: w}
		_, pattern := mux.Handler(r)
		defer func() {
			if v := recover(); v != nil {
				a.recovered(rec, r, pattern, v)
			}
			a.answers[rec.status/100%len(a.answers)].Add(1)
			a.opt.Logger.DebugContext(r.Context(), "request", "request", requestID(r.Context()), "method", method(r.Method),
				"route", pattern, "status", rec.status, "took", a.opt.Now().Sub(start).Round(time.Microsecond))
		}()
		h := rec.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		got := r.Header.Get(ProtocolHeader)
		switch {
		case pattern == "":
			writeError(rec, refuse(wire.CodeNotFound, "no such route"))
		case got != strconv.Itoa(wire.ProtocolVersion) && (got != "" || needsProtocol(r.URL.Path)):
			writeError(rec, refuse(wire.CodeVersion, "this server speaks protocol version %d, named in the header %s", wire.ProtocolVersion, ProtocolHeader))
		case !strings.HasPrefix(r.URL.Path, wire.PathBlobData) && twice(r.URL.Query()): // tickets are checked by their handler
			writeError(rec, refuse(wire.CodeMalformed, "a query parameter is repeated"))
		default:
			mux.ServeHTTP(rec, r)
		}
	})
}

// twice reports whether a query parameter has more than one value, because two parsers could use
// different ones.
func twice(query url.Values) bool {
	for _, values := range query {
		if len(values) > 1 {
			return true
		}
	}
	return false
}

// method keeps invented methods out of the log.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		return m
	}
	return "other"
}

// recovered logs a panic with its stack and answers 500. The value of a panic may contain client data,
// so it is logged only for runtime errors.
func (a *API) recovered(w *recorder, r *http.Request, pattern string, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	if r.Context().Err() != nil {
		return // huma panics when the client disconnects during a write
	}
	text := fmt.Sprintf("%T", v)
	if e, ok := v.(runtime.Error); ok {
		text = e.Error()
	}
	a.panics.Add(1)
	a.opt.Logger.ErrorContext(r.Context(), "panic in a handler", "request", requestID(r.Context()), "route", pattern, "panic", text, "stack", string(debug.Stack()))
	if w.status == 0 {
		writeError(w, refuse(wire.CodeInternal, "internal error; the server's log has the details"))
	}
}

// recorder records the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader records and sends the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
