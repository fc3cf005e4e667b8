package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/limit"
)

// E18: secrets that a log at debug level must not contain.
func TestLogHoldsNoSecrets(t *testing.T) {
	r := newRealm(t, wide())
	r.join("canarycontact")
	r.log.Reset() // an account's own registration logs its name
	invite, _ := r.invite(1, time.Hour)
	u := r.newUser("alice")
	u.device = newDevice("canary-device-name")
	u.manifest = u.sign(identity.Manifest{Version: 1}, u.device)
	reg := u.registration(invite)
	want(t, "register", r.call("POST", "/v1/accounts", "", reg, nil), http.StatusOK, "")
	login := u.tokenRequest(u.device, wire.RoleAPI)
	var tok wire.Token
	want(t, "login", r.call("POST", "/v1/tokens", "", login, &tok), http.StatusOK, "")
	for range 2 { // the second time everything fails
		r.call("PUT", "/v1/contacts/canarycontact", tok.Token, wire.PutContact{Relation: wire.RelationContact}, nil)
		r.call("GET", "/v1/accounts/canarycontact", tok.Token, nil, nil)
		r.call("GET", "/v1/accounts/canarystranger", tok.Token, nil, nil)
		r.call("POST", "/v1/accounts/canarycontact/bundles", tok.Token, wire.BundlesRequest{}, nil)
		r.call("PUT", "/v1/prekeys", tok.Token, u.stock(2), nil)
		r.call("PUT", "/v1/prekeys", tok.Token, `{"canaryfield": "canaryvalue"}`, nil)
		r.call("POST", "/v1/tokens", "", login, nil)
		r.call("POST", "/v1/accounts", "", reg, nil)
		r.call("GET", "/canarypath?canaryquery=1", tok.Token, nil, nil)
		r.store.fail(true)
		r.clock.Advance(time.Minute)
	}
	r.store.fail(false)
	log := r.log.String()
	if !strings.Contains(log, "route=\"PUT /v1/prekeys\"") || !strings.Contains(log, errBroken.Error()) {
		t.Fatalf("the log is not what this test is about:\n%s", log)
	}
	b64 := base64.StdEncoding.EncodeToString
	for name, secret := range map[string]string{
		"invite": b64(invite), "invite, raw": string(invite), "access token": tok.Token, "signature part": tok.Token[strings.LastIndexByte(tok.Token, '.')+1:],
		"nonce": b64(login.Nonce), "login signature": b64(login.Signature), "contact": "canarycontact", "stranger": "canarystranger",
		"field": "canaryfield", "value": "canaryvalue", "path": "canarypath", "query": "canaryquery", "device name": "canary-device-name",
		"manifest": b64(reg.Manifest)[:40], "csr": b64(reg.CSR)[:40], "address": "192.0.2.1",
	} {
		if strings.Contains(log, secret) {
			t.Errorf("the log contains the %s", name)
		}
	}
}

// E23 (crypto/ATTACKS.md): while the store cannot be read, no new device gets in, and a known one for
// ten seconds only.
func TestFailsClosed(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	a, b := alice.token(wire.RoleAPI), bob.token(wire.RoleAPI)
	r.clock.Advance(3 * time.Second)
	want(t, "alice", r.call("GET", "/v1/contacts", a, nil, nil), http.StatusOK, "")
	r.clock.Advance(7500 * time.Millisecond) // bob's row is over ten seconds old, alice's is not
	login := bob.tokenRequest(bob.device, wire.RoleAPI)
	r.store.fail(true)
	want(t, "alice in grace", r.call("GET", "/v1/contacts", a, nil, nil), http.StatusOK, "")
	want(t, "bob", r.call("GET", "/v1/contacts", b, nil, nil), http.StatusServiceUnavailable, wire.CodeUnavailable)
	want(t, "bob's login", r.call("POST", "/v1/tokens", "", login, nil), http.StatusServiceUnavailable, wire.CodeUnavailable)
	r.clock.Advance(3 * time.Second)
	want(t, "alice after ten seconds", r.call("GET", "/v1/contacts", a, nil, nil), http.StatusServiceUnavailable, wire.CodeUnavailable)
	if _, _, err := r.api.Verify(t.Context(), a, wire.RoleAPI); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("the relay gets %v", err)
	}
	r.store.fail(false)
	want(t, "bob again", r.call("GET", "/v1/contacts", b, nil, nil), http.StatusOK, "")
}

// A suspension made in this process takes effect at once, not when the cache expires.
func TestForget(t *testing.T) {
	r := newRealm(t, wide())
	token := r.join("alice").token(wire.RoleAPI)
	want(t, "before", r.call("GET", "/v1/contacts", token, nil, nil), http.StatusOK, "")
	if err := r.store.SetSuspended(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	r.api.Forget("alice")
	want(t, "after", r.call("GET", "/v1/contacts", token, nil, nil), http.StatusForbidden, wire.CodeSuspended)
}

// A login challenge works once, even if it is answered many times at once.
func TestNonceIsUsedOnce(t *testing.T) {
	r := newRealm(t, wide())
	alice := r.join("alice")
	req := alice.tokenRequest(alice.device, wire.RoleContact)
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 50 {
		wg.Go(func() {
			if rep := r.do(request("POST", "/v1/tokens", "", req)); rep.status == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("%d tokens for one nonce", good)
	}
}

func TestAddressKeys(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7", "192.0.2.7": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::/64", "[fe80::1%eth0]:443": "fe80::/64", "@": "local", "": "local", "evil, 1.2.3.4": "local",
	} {
		if got := api.AddressKey(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// X-Forwarded-For is trusted on the proxy's listener only, and there its last entry.
func TestForwardedFor(t *testing.T) {
	l := wide()
	l.Logins = limit.Rate{Burst: 1, Every: time.Hour}
	r := newRealm(t, l)
	try := func(proxy bool, values ...string) int {
		req := request("POST", "/v1/challenges", "", wire.Challenge{Account: "a", Device: "b"})
		for _, v := range values {
			req.Header.Add("X-Forwarded-For", v)
		}
		if proxy {
			req.RemoteAddr = "127.0.0.1:9"
			req = req.WithContext(api.TrustProxy(context.Background()))
		}
		return r.do(req).status
	}
	for i, c := range []struct {
		proxy  bool
		values []string
		status int
	}{
		{false, []string{"10.0.0.1"}, 200}, {false, []string{"10.0.0.2"}, 429}, {true, []string{"10.0.0.1"}, 200}, {true, []string{"10.0.0.1"}, 429},
		{true, []string{"6.6.6.6, 10.0.0.1"}, 429}, {true, []string{"6.6.6.6", "10.0.0.1"}, 429}, {true, []string{"10.0.0.1", "10.0.0.3"}, 200},
	} {
		if got := try(c.proxy, c.values...); got != c.status {
			t.Errorf("case %d: %d", i, got)
		}
	}
}

// The description is consistent, names every route, and changes only on purpose.
func TestOpenAPI(t *testing.T) {
	r := newRealm(t, wide())
	rep := r.call("GET", "/v1/openapi.json", "", nil, nil)
	if rep.status != 200 || !bytes.Equal(rep.body, r.api.OpenAPI()) {
		t.Fatal("not served")
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(rep.body, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("version %q: %v", doc.OpenAPI, err)
	}
	for _, route := range r.api.Routes() {
		op := doc.Paths[route.Path][strings.ToLower(route.Method)]
		if op == nil || op["operationId"] == "" || (op["security"] != nil) != route.Auth {
			t.Errorf("%s %s: %v", route.Method, route.Path, op)
		}
	}
	described(t, doc.Paths, doc.Components.Schemas)
	text := string(rep.body)
	for _, part := range strings.Split(text, `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
	}
	for _, noise := range []string{"$schema", "ErrorModel", "problem+json"} {
		if strings.Contains(text, noise) {
			t.Errorf("the description contains %s", noise)
		}
	}
	golden := filepath.Join("testdata", "openapi.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, rep.body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wanted, rep.body) {
		t.Error("the API's description changed; if that is meant, run the test with UPDATE_GOLDEN=1 and look at the difference")
	}
}

// described checks that every route, parameter, response and field of the API's description has a text,
// and that fields with few values list them.
func described(t *testing.T, paths map[string]map[string]map[string]any, schemas map[string]any) {
	t.Helper()
	text := func(where string, v any) {
		t.Helper()
		m, _ := v.(map[string]any)
		if d, _ := m["description"].(string); d == "" {
			t.Errorf("%s: no description", where)
		}
	}
	for path, methods := range paths {
		for method, op := range methods {
			where := method + " " + path
			text(where, op)
			if s, _ := op["summary"].(string); s == "" {
				t.Errorf("%s: no summary", where)
			}
			params, _ := op["parameters"].([]any)
			for i, p := range params {
				text(fmt.Sprintf("%s, parameter %d", where, i), p)
			}
			responses, _ := op["responses"].(map[string]any)
			if len(responses) < 1 {
				t.Errorf("%s: no answers", where)
			}
			for status, r := range responses {
				text(where+", answer "+status, r)
			}
		}
	}
	if paths["/v1/contact"] == nil || paths["/v1/replica"] == nil || paths["/v1/blobdata/{id}"]["put"] == nil {
		t.Error("paths served in addition to the REST calls are missing")
	}
	for name, closed := range map[string]bool{"PutContact": true, "BlobPart": true, "CreateBlob": true, "Token": false, "StoredPrekeys": false, "Error": false} {
		if _, is := schemas[name].(map[string]any)["additionalProperties"]; is != closed {
			t.Errorf("%s: unknown fields are refused: %v", name, is)
		}
	}
	values := map[string][]any{
		"PutContact.relation": {"contact", "blocked"}, "ContactEntry.relation": {"contact", "blocked"}, "TokenRequest.role": {"replica", "contact", "api"},
	}
	for name, s := range schemas {
		fields, _ := s.(map[string]any)["properties"].(map[string]any)
		for field, v := range fields {
			m, _ := v.(map[string]any)
			if _, ref := m["$ref"]; !ref {
				text(name+"."+field, v)
			}
			want := values[name+"."+field]
			if have, _ := m["enum"].([]any); want != nil && !slices.Equal(have, want) {
				t.Errorf("%s.%s may be %v, the description says %v", name, field, want, have)
			}
			delete(values, name+"."+field)
		}
	}
	if len(values) > 0 {
		t.Errorf("fields that do not exist: %v", values)
	}
}

func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"token":"AAAAAAAAAAAAAAAAAAAAAA==","name":"a","csr":"","manifest":"","proof":""}`, `{"account":"a","device":"b"}`,
		`{"account":"a","device":"b","role":"api","nonce":"AA==","signature":"AA=="}`, `{"a":{"b":[1,2,{"c":null}]}}`, "\xff", `{"a":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	r := newRealm(f, wide())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, path := range []string{"/v1/accounts", "/v1/challenges", "/v1/tokens"} {
			rep := r.do(request("POST", path, "", string(data)))
			if rep.status >= 500 || rep.status >= 400 && rep.code == "" {
				t.Errorf("%s: %d %s", path, rep.status, rep.body)
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYXBpIn0.")
	f.Add(strings.Repeat(".", 100))
	r := newRealm(f, wide())
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, err := r.api.Verify(t.Context(), token, wire.RoleAPI); wire.CodeOf(err) != wire.CodeUnauthorized {
			t.Errorf("%q: %v", token, err)
		}
	})
}
