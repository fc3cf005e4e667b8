package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/wire"
)

// F8: only accounts get credentials, a limited number of them, for themselves only.
func TestTurnCredentials(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	token := bob.token(wire.RoleAPI)
	var got wire.TurnCredentials
	for range 3 {
		want(t, "credentials", r.call("POST", "/v1/turn", token, nil, &got), http.StatusOK, "")
	}
	if got.Username != "1:bob:0" || len(got.URLs) != 1 || got.ExpiresMS != 1000 {
		t.Errorf("%+v", got)
	}
	rep := r.call("POST", "/v1/turn", token, nil, nil)
	want(t, "a fourth", rep, http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "another account", r.call("POST", "/v1/turn", alice.token(wire.RoleAPI), nil, &got), http.StatusOK, "")
	r.clock.Advance(time.Minute)
	r.noTurn.Store(true)
	want(t, "no media server", r.call("POST", "/v1/turn", token, nil, nil), http.StatusServiceUnavailable, wire.CodeUnavailable)
	if rep := r.call("GET", "/healthz", "", nil, nil); rep.status != 200 || !strings.HasPrefix(string(rep.body), "ok\nwarning: calls") {
		t.Errorf("health: %d %q", rep.status, rep.body)
	}
	r.noTurn.Store(false)
	if rep := r.call("GET", "/healthz", "", nil, nil); rep.status != 200 || string(rep.body) != "ok\n" {
		t.Errorf("health: %d %q", rep.status, rep.body)
	}
	if strings.Contains(r.log.String(), "1:bob:0") {
		t.Error("the log contains credentials")
	}
}

// An account that is suspended while its request is answered gets nothing.
func TestTurnSuspendedMeanwhile(t *testing.T) {
	r := newRealm(t, wide())
	token := r.join("bob").token(wire.RoleAPI)
	suspend := func() {
		if err := r.store.SetSuspended(t.Context(), "bob", true); err != nil {
			t.Error(err)
		}
	}
	r.onTurn.Store(&suspend)
	want(t, "suspended meanwhile", r.call("POST", "/v1/turn", token, nil, nil), http.StatusForbidden, wire.CodeSuspended)
}
