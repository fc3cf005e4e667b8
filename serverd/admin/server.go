package admin

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	rpc "secmsg/rpc/admin"
	"secmsg/rpc/strict"
	"secmsg/rpc/wire"
	"secmsg/serverd/stats"
	"secmsg/serverd/store"
)

// Bounds of an administrator's requests.
const (
	maxUses    = 10_000
	maxLife    = 365 * 24 * time.Hour
	maxRequest = 4 << 10
	maxDepth   = 4 // of a body's JSON; the bodies are flat
	maxValues  = 32
	pageSize   = 500
)

// Store is the part of the server's store that the admin socket uses.
type Store interface {
	store.Accounts
	MailboxSize(ctx context.Context, device key.DeviceID) (envelopes int, bytes int64, err error)
	BlobUsage(ctx context.Context, account string) (store.BlobUsage, error)
	SetBlobQuota(ctx context.Context, account string, bytes int64) error
}

// Options configure a Server. All are required except Changed, Connected and Trace.
type Options struct {
	Store       Store
	Stats       *stats.Registry
	Domain      string
	Address     string // HOST:PORT written into invites
	Fingerprint identity.Fingerprint
	BlobQuota   int64 // default quota of the configuration, in bytes
	// ConfirmClock trusts the wall clock after a jump, and returns how far the server's time moved.
	ConfirmClock func(ctx context.Context) (time.Duration, error)
	// Connected reports whether a device is connected. Nil means unknown.
	Connected func(key.DeviceID) bool
	// Trace returns the steps of a message at the relay, oldest first. Nil means that this server has no relay.
	Trace func(message [16]byte) []rpc.TraceStep
	// Changed is called after an account was suspended, resumed or deleted.
	Changed func(account string)
	Now     func() time.Time
	Logger  *slog.Logger
}

// Server serves the admin socket.
type Server struct {
	opt     Options
	started time.Time
}

// New makes a server.
func New(opt Options) *Server { return &Server{opt: opt, started: opt.Now()} }

// Handler returns the routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	routeBody(s, mux, "POST /invites", s.createInvite)
	route(s, mux, "GET /invites", s.listInvites)
	route(s, mux, "DELETE /invites/{id}", s.revokeInvite)
	route(s, mux, "GET /users", s.listUsers)
	route(s, mux, "GET /users/{name}", s.showUser)
	route(s, mux, "DELETE /users/{name}", s.deleteUser)
	route(s, mux, "POST /users/{name}/suspend", s.suspend(true))
	route(s, mux, "POST /users/{name}/resume", s.suspend(false))
	route(s, mux, "GET /users/{name}/devices", s.listDevices)
	route(s, mux, "GET /users/{name}/quota", s.quota)
	routeBody(s, mux, "PUT /users/{name}/quota", s.setQuota)
	route(s, mux, "GET /messages/{id}/trace", s.trace)
	route(s, mux, "GET /stats", s.stats)
	route(s, mux, "POST /clock/confirm", s.confirmClock)
	return mux
}

// none is the response of a call without a result.
type none struct{}

// route registers a call without a body. f's result or error becomes the response.
func route[T any](s *Server, mux *http.ServeMux, pattern string, f func(*http.Request) (T, error)) {
	routeBody(s, mux, pattern, func(r *http.Request) (T, error) {
		if err := noBody(r); err != nil {
			var none T
			return none, err
		}
		return f(r)
	})
}

// routeBody registers a call that reads its body.
func routeBody[T any](s *Server, mux *http.ServeMux, pattern string, f func(*http.Request) (T, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		out, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			e := s.failure(r, err)
			w.WriteHeader(statusOf(e.Code))
			_ = json.NewEncoder(w).Encode(rpc.ErrorBody{Error: e}) // an error means that the client is gone
			return
		}
		if r.Method != http.MethodGet {
			s.opt.Logger.InfoContext(r.Context(), "administration", "call", pattern, "subject", r.PathValue("name")+r.PathValue("id"))
		}
		_ = json.NewEncoder(w).Encode(out) // an error means that the client is gone
	})
}

// statusOf returns the HTTP status of a code. The admin socket shares its codes with
// the API, except for the one that only an administrator can act on.
func statusOf(c rpc.Code) int {
	if c == rpc.CodeDisk {
		return http.StatusInsufficientStorage
	}
	return wire.Code(c).Status()
}

// failure maps an error. An unexpected one is logged in full.
func (s *Server) failure(r *http.Request, err error) *rpc.Error {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &rpc.Error{Code: rpc.CodeNotFound, Message: missing(r)}
	case errors.Is(err, store.ErrConflict):
		return &rpc.Error{Code: rpc.CodeConflict, Message: "another command changed it at the same time; try again"}
	}
	s.opt.Logger.ErrorContext(r.Context(), "administration failed", "error", err)
	if errors.Is(err, store.ErrDisk) {
		return &rpc.Error{Code: rpc.CodeDisk, Message: "the server's storage is full or failing"}
	}
	return &rpc.Error{Code: rpc.CodeInternal, Message: "internal error; see the server's log for details"}
}

// missing names the thing in a request that the store does not have.
func missing(r *http.Request) string {
	if name := r.PathValue("name"); name != "" {
		return fmt.Sprintf("account %q does not exist", name)
	}
	return fmt.Sprintf("invite %q does not exist", r.PathValue("id"))
}

func malformed(format string, args ...any) error {
	return &rpc.Error{Code: rpc.CodeMalformed, Message: fmt.Sprintf(format, args...)}
}

// decode reads the body of a request into in.
func decode(r *http.Request, in any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return malformed("the body cannot be read or is over %d bytes", maxRequest)
	}
	if err := strict.Unmarshal(body, in, strict.Limits{Depth: maxDepth, Values: maxValues}); err != nil {
		return malformed("not a valid request: %v", err)
	}
	return nil
}

// noBody refuses a body on calls that take none: a caller that sends one expects it to have an effect.
func noBody(r *http.Request) error {
	switch n, err := io.ReadFull(r.Body, make([]byte, 1)); {
	case n > 0:
		return malformed("this call takes no body")
	case err != io.EOF:
		return malformed("the body cannot be read")
	}
	return nil
}

// createInvite serves POST /invites.
func (s *Server) createInvite(r *http.Request) (rpc.CreatedInvite, error) {
	var in rpc.CreateInvite
	if err := decode(r, &in); err != nil {
		return rpc.CreatedInvite{}, err
	}
	return NewInvite(r.Context(), s.opt.Store, InviteOptions{
		Address: s.opt.Address, Fingerprint: s.opt.Fingerprint,
		Uses: in.Uses, Life: time.Duration(min(in.LifeSec, int64(maxLife/time.Second)+1)) * time.Second, Now: s.opt.Now(),
	})
}

// InviteOptions describe a new invite.
type InviteOptions struct {
	Address     string
	Fingerprint identity.Fingerprint
	Uses        int
	Life        time.Duration
	Now         time.Time
}

// Inviter is the part of a store that NewInvite uses.
type Inviter interface {
	CreateInvite(ctx context.Context, inv store.Invite) error
}

// NewInvite creates and stores an invite. Only the result contains the token; the store keeps its hash.
// It returns an *admin.Error of code "malformed" for uses or a lifetime out of bounds.
func NewInvite(ctx context.Context, st Inviter, o InviteOptions) (rpc.CreatedInvite, error) {
	if o.Uses < 1 || o.Uses > maxUses {
		return rpc.CreatedInvite{}, malformed("uses: 1 to %d", maxUses)
	}
	if o.Life <= 0 || o.Life > maxLife {
		return rpc.CreatedInvite{}, malformed("expires: more than 0, at most a year")
	}
	token := identity.NewInviteToken()
	text, err := identity.Invite{Addr: o.Address, Token: token, Fingerprint: o.Fingerprint}.URI()
	if err != nil {
		return rpc.CreatedInvite{}, fmt.Errorf("make invite: %w", err)
	}
	inv := store.Invite{
		ID: newID(), TokenHash: token.Hash(), Uses: o.Uses,
		Created: o.Now, Expires: o.Now.Add(o.Life).Truncate(time.Millisecond),
	}
	if err := st.CreateInvite(ctx, inv); err != nil {
		return rpc.CreatedInvite{}, fmt.Errorf("store invite: %w", err)
	}
	return rpc.CreatedInvite{ID: inv.ID, Invite: text, Uses: inv.Uses, Expires: rpc.Time{Time: inv.Expires}}, nil
}

// newID returns the public id of an invite: 8 characters that are easy to type.
func newID() string {
	var b [5]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// listInvites serves GET /invites.
func (s *Server) listInvites(r *http.Request) (rpc.Invites, error) {
	list, err := s.opt.Store.ListInvites(r.Context())
	if err != nil {
		return rpc.Invites{}, err
	}
	out := rpc.Invites{Invites: make([]rpc.Invite, 0, len(list))}
	for _, inv := range list {
		out.Invites = append(out.Invites, rpc.Invite{
			ID: inv.ID, State: stateOf(inv, s.opt.Now()), Uses: inv.Uses, Used: inv.Used,
			Created: rpc.Time{Time: inv.Created}, Expires: rpc.Time{Time: inv.Expires},
		})
	}
	return out, nil
}

func stateOf(inv store.Invite, now time.Time) rpc.InviteState {
	switch {
	case inv.Revoked:
		return rpc.InviteRevoked
	case inv.Used >= inv.Uses:
		return rpc.InviteUsed
	case !now.Before(inv.Expires):
		return rpc.InviteExpired
	}
	return rpc.InviteOpen
}

// revokeInvite serves DELETE /invites/{id}.
func (s *Server) revokeInvite(r *http.Request) (none, error) {
	return none{}, s.opt.Store.RevokeInvite(r.Context(), r.PathValue("id"))
}

// stats serves GET /stats.
func (s *Server) stats(r *http.Request) (rpc.Stats, error) {
	now := s.opt.Now()
	out := rpc.Stats{
		Time: rpc.Time{Time: now}, Uptime: int64(now.Sub(s.started) / time.Second), Healthy: true,
		Checks: []rpc.Check{}, Warnings: s.opt.Stats.Problems(), Counters: s.opt.Stats.Snapshot(),
	}
	for _, res := range s.opt.Stats.Health(r.Context()) {
		c := rpc.Check{Name: res.Name, OK: res.Err == nil}
		if res.Err != nil {
			c.Message, out.Healthy = res.Err.Error(), false
		}
		out.Checks = append(out.Checks, c)
	}
	return out, nil
}

// trace serves GET /messages/{id}/trace.
func (s *Server) trace(r *http.Request) (rpc.Trace, error) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return rpc.Trace{}, malformed("%q is not the id of a message; `secmsg send` prints it", r.PathValue("id"))
	}
	if s.opt.Trace == nil {
		return rpc.Trace{}, &rpc.Error{Code: rpc.CodeNotFound, Message: "this server does not relay messages; ask a server with the role relay"}
	}
	steps := s.opt.Trace(id)
	if len(steps) == 0 {
		return rpc.Trace{}, &rpc.Error{Code: rpc.CodeNotFound,
			Message: "the trace has no steps of this message: it did not pass through this server, or too many other messages have since"}
	}
	return rpc.Trace{Steps: steps}, nil
}

// confirmClock serves POST /clock/confirm.
func (s *Server) confirmClock(r *http.Request) (rpc.ConfirmedClock, error) {
	moved, err := s.opt.ConfirmClock(r.Context())
	if err != nil {
		return rpc.ConfirmedClock{}, err
	}
	s.opt.Stats.Forget()
	return rpc.ConfirmedClock{Time: rpc.Time{Time: s.opt.Now()}, MovedSec: int64(moved / time.Second)}, nil
}
