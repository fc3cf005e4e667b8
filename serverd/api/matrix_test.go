package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/store"
)

// samples returns a valid request by bob for each route, aimed at alice where a route names an account.
// The matrix fails for a route without a sample.
func samples(alice, bob *user) map[string]func() (path string, body any) {
	plain := func(path string, body any) func() (string, any) {
		return func() (string, any) { return path, body }
	}
	// Each route has its own blob, so that no test depends on another.
	part := []wire.BlobPart{{Number: 1, Size: 5}}
	state, tickets, whole, dropped := bob.upload("hello"), bob.upload("hello"), bob.upload("hello"), bob.upload("hello")
	shared := alice.blob("hello", "bob")
	return map[string]func() (string, any){
		"POST /v1/blobs":               plain("/v1/blobs", wire.CreateBlob{Readers: []string{"alice"}, Size: 5, LifeMS: 1000}),
		"GET /v1/blobs":                plain("/v1/blobs", nil),
		"GET /v1/blobs/{id}":           plain("/v1/blobs/"+state.id, nil),
		"POST /v1/blobs/{id}/tickets":  plain("/v1/blobs/"+tickets.id+"/tickets", wire.BlobTickets{Parts: part}),
		"POST /v1/blobs/{id}/complete": plain("/v1/blobs/"+whole.id+"/complete", wire.CompleteBlob{Size: 5, ETags: []string{whole.etag}}),
		"POST /v1/blobs/{id}/download": plain("/v1/blobs/"+shared.id+"/download", nil),
		"DELETE /v1/blobs/{id}":        plain("/v1/blobs/"+dropped.id, nil),
		"GET /v1/blobdata/{id}":        plain("/v1/blobdata/"+shared.id, nil),
		"PUT /v1/blobdata/{id}":        plain("/v1/blobdata/"+shared.id, nil),

		"POST /v1/turn":                     plain("/v1/turn", nil),
		"GET /healthz":                      plain("/healthz", nil),
		"GET /v1/openapi.json":              plain("/v1/openapi.json", nil),
		"GET /v1/realm":                     plain("/v1/realm", nil),
		"POST /v1/accounts":                 func() (string, any) { return "/v1/accounts", bob.registration(make([]byte, 16)) },
		"POST /v1/challenges":               plain("/v1/challenges", wire.Challenge{Account: "bob", Device: bob.device.id().String()}),
		"POST /v1/tokens":                   func() (string, any) { return "/v1/tokens", bob.tokenRequest(bob.device, wire.RoleAPI) },
		"GET /v1/accounts/{name}":           plain("/v1/accounts/alice", nil),
		"GET /v1/accounts/{name}/manifests": plain("/v1/accounts/alice/manifests?after=0", nil),
		"POST /v1/accounts/{name}/bundles":  plain("/v1/accounts/alice/bundles", wire.BundlesRequest{Devices: []string{alice.device.id().String()}}),
		"PUT /v1/manifest":                  func() (string, any) { return "/v1/manifest", bob.next(bob.device, newDevice("phone")) },
		"POST /v1/certificate":              plain("/v1/certificate", nil),
		"GET /v1/prekeys":                   plain("/v1/prekeys", nil),
		"PUT /v1/prekeys":                   func() (string, any) { return "/v1/prekeys", bob.stock(1) },
		"GET /v1/contacts":                  plain("/v1/contacts", nil),
		"PUT /v1/contacts/{name}":           plain("/v1/contacts/alice", wire.PutContact{Relation: wire.RelationContact}),
		"DELETE /v1/contacts/{name}":        plain("/v1/contacts/alice", nil),
	}
}

// state is the store's data of an account, to check that nothing has changed.
func (r *realm) state(u *user) any {
	r.t.Helper()
	ctx := r.t.Context()
	acc, err := r.store.Account(ctx, u.addr.User)
	if err != nil {
		r.t.Fatal(err)
	}
	devices, err := r.store.Devices(ctx, u.addr.User)
	if err != nil {
		r.t.Fatal(err)
	}
	relations, err := r.store.Relations(ctx, u.addr.User)
	if err != nil {
		r.t.Fatal(err)
	}
	count, err := r.store.CountPrekeys(ctx, u.device.id(), r.clock.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	usage, err := r.store.BlobUsage(ctx, u.addr.User)
	if err != nil {
		r.t.Fatal(err)
	}
	return []any{acc, devices, relations, count, usage}
}

// forge creates a token without the API.
func forge(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// E12: every route with every kind of caller that may not use it. The list of routes is the router's
// own, so a new route without a sample fails.
func TestMatrix(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	want(t, "stock", r.call("PUT", "/v1/prekeys", alice.token(wire.RoleAPI), alice.stock(3), nil), http.StatusOK, "")
	lost := newDevice("lost") // a device of bob that will be revoked
	two := bob.next(bob.device, lost)
	good := bob.token(wire.RoleAPI)
	want(t, "add", r.call("PUT", "/v1/manifest", good, two, nil), http.StatusNoContent, "")
	bob.manifest, bob.version = two.Manifest, 2
	revoked := bob.tokenFor(lost, wire.RoleAPI)
	one := bob.next(bob.device)
	want(t, "revoke", r.call("PUT", "/v1/manifest", good, one, nil), http.StatusNoContent, "")
	bob.manifest, bob.version = one.Manifest, 3

	suspended := r.join("carol")
	suspendedToken := suspended.token(wire.RoleAPI)
	if err := r.store.SetSuspended(t.Context(), "carol", true); err != nil {
		t.Fatal(err)
	}
	deleted := r.join("dave")
	deletedToken := deleted.token(wire.RoleAPI)
	if err := r.store.DeleteAccount(t.Context(), "dave"); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(3 * time.Second) // past the cache, as after changes by another node

	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"account": "bob", "device": bob.device.id().String(), "role": "api", "iss": domain, "exp": r.clock.Now().Add(time.Minute).Unix(),
		}
		if change != nil {
			change(c)
		}
		return c
	}
	key := bytes.Repeat([]byte{7}, api.TokenKeySize)
	callers := map[string]struct {
		header string
		status int
		code   wire.Code
	}{
		"no token":        {"", 401, wire.CodeUnauthorized},
		"not a bearer":    {"Basic Ym9iOmJvYg==", 401, wire.CodeUnauthorized},
		"garbage":         {"Bearer garbage", 401, wire.CodeUnauthorized},
		"too long":        {"Bearer " + strings.Repeat("a", 5000), 401, wire.CodeUnauthorized},
		"contact role":    {"Bearer " + bob.token(wire.RoleContact), 401, wire.CodeUnauthorized},
		"replica role":    {"Bearer " + bob.token(wire.RoleReplica), 401, wire.CodeUnauthorized},
		"revoked device":  {"Bearer " + revoked, 401, wire.CodeUnauthorized},
		"deleted account": {"Bearer " + deletedToken, 401, wire.CodeUnauthorized},
		"suspended":       {"Bearer " + suspendedToken, 403, wire.CodeSuspended},
		"expired":         {"Bearer " + forge(t, jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["exp"] = r.clock.Now().Add(-time.Second).Unix() })), 401, wire.CodeUnauthorized},
		"no expiry":       {"Bearer " + forge(t, jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { delete(c, "exp") })), 401, wire.CodeUnauthorized},
		"other realm":     {"Bearer " + forge(t, jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["iss"] = "elsewhere.example.com" })), 401, wire.CodeUnauthorized},
		"other account":   {"Bearer " + forge(t, jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["account"] = "alice" })), 401, wire.CodeUnauthorized},
		"other key":       {"Bearer " + forge(t, jwt.SigningMethodHS256, make([]byte, 32), claims(nil)), 401, wire.CodeUnauthorized},
		"other algorithm": {"Bearer " + forge(t, jwt.SigningMethodHS512, key, claims(nil)), 401, wire.CodeUnauthorized},
		"no algorithm":    {"Bearer " + forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)), 401, wire.CodeUnauthorized},
	}
	if rep := r.call("GET", "/v1/contacts", forge(t, jwt.SigningMethodHS256, key, claims(nil)), nil, nil); rep.status != 200 {
		t.Fatalf("the forger's correctly made token is refused: %d %s", rep.status, rep.body)
	}
	table := samples(alice, bob)
	before := r.state(alice)
	beforeBob := r.state(bob)
	for _, route := range r.api.Routes() {
		name := route.Method + " " + route.Path
		sample := table[name]
		if sample == nil {
			t.Errorf("%s: a route without a sample in this test", name)
			continue
		}
		if route.Signed { // see TestSignedURLs
			path, _ := sample()
			want(t, name+" without a signature", r.call(route.Method, path, good, nil, nil), http.StatusForbidden, wire.CodeTicket)
		}
		if !route.Auth {
			continue
		}
		for who, c := range callers {
			path, body := sample()
			req := request(route.Method, path, "", body)
			if c.header != "" {
				req.Header.Set("Authorization", c.header)
			}
			want(t, name+" by "+who, r.do(req), c.status, c.code)
		}
	}
	if !reflect.DeepEqual(before, r.state(alice)) || !reflect.DeepEqual(beforeBob, r.state(bob)) {
		t.Error("a refused call changed the state")
	}
	// Now with a valid token of bob: everything works, and alice's data does not change except for the
	// one-time keys that were handed out.
	good = bob.token(wire.RoleAPI)
	for _, route := range r.api.Routes() {
		if !route.Auth {
			continue
		}
		path, body := table[route.Method+" "+route.Path]()
		if rep := r.call(route.Method, path, good, body, nil); rep.status >= 300 {
			t.Errorf("%s %s: %d %s", route.Method, route.Path, rep.status, rep.body)
		}
		if strings.HasSuffix(route.Path, "/bundles") {
			before.([]any)[3] = withoutOneTime(before)
		}
		if !reflect.DeepEqual(before, r.state(alice)) {
			t.Errorf("%s %s: bob changed alice's data", route.Method, route.Path)
			before = r.state(alice)
		}
	}
	// Alice's signed structures sent by bob.
	stolen := alice.next(alice.device, bob.device)
	want(t, "alice's manifest by bob", r.call("PUT", "/v1/manifest", good, stolen, nil), http.StatusBadRequest, wire.CodeMalformed)
	want(t, "alice's prekeys by bob", r.call("PUT", "/v1/prekeys", good, alice.stock(1), nil), http.StatusBadRequest, wire.CodeMalformed)
	if !reflect.DeepEqual(before, r.state(alice)) {
		t.Error("bob changed alice's data")
	}
}

// withoutOneTime is the stock without the one-time keys of one bundle.
func withoutOneTime(state any) store.PrekeyCount {
	count := state.([]any)[3].(store.PrekeyCount)
	count.OneTimeExchange--
	count.OneTimeKEM--
	return count
}

// E13 and E14: each field of each body with a value of the wrong type, and with an SQL injection.
func TestFieldsOfOtherTypes(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	token := bob.token(wire.RoleAPI)
	injections := []string{"' OR '1'='1", "x'; DROP TABLE accounts; --", `{"$ne":null}`, "\x00", "../../etc/passwd", "%00", "😀", strings.Repeat("A", 900)}
	for name, sample := range samples(alice, bob) {
		path, body := sample()
		if body == nil {
			continue
		}
		method, _, _ := strings.Cut(name, " ")
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		for field, original := range fields {
			for _, v := range []any{map[string]any{"$gt": ""}, []any{map[string]any{}}, map[string]any{"a": []any{1}}, 1.5, true} {
				fields[field] = v
				want(t, name+" "+field, r.call(method, path, token, fields, nil), http.StatusBadRequest, wire.CodeMalformed)
			}
			for _, v := range injections {
				fields[field] = v
				if rep := r.call(method, path, token, fields, nil); rep.status >= 500 || rep.status < 300 && name != "POST /v1/challenges" {
					t.Errorf("%s %s = %q: %d %s", name, field, v, rep.status, rep.body)
				}
			}
			fields[field] = original
		}
		fields["extra"] = 1
		want(t, name+" with an unknown field", r.call(method, path, token, fields, nil), http.StatusBadRequest, wire.CodeMalformed)
		for what, text := range map[string]string{
			"nothing": "", "an array": "[]", "null": "null", "a string": `"x"`, "broken": "{", "two values": string(raw) + "{}",
			"a field twice":               strings.Replace(string(raw), "{", `{"x":1,"x":1,`, 1),
			"a field twice in other case": strings.Replace(string(raw), "{", `{"x":1,"X":1,`, 1),
			"an own field twice":          strings.Replace(string(raw), "{", string(raw[:len(raw)-1])+",", 1),
			"an own field, then capitals": string(raw[:len(raw)-1]) + "," + strings.ToUpper(first(fields)) + ":1}",
			"an escaped capital":          string(raw[:len(raw)-1]) + `,"\u0053ize":1}`,
			"a long s":                    string(raw[:len(raw)-1]) + `,"\u017fize":1}`,
			"half a surrogate pair":       strings.Replace(string(raw), ":", `:"\ud83d","x":`, 1),
			"a field in other case":       strings.ToUpper(string(raw[:3])) + string(raw[3:]),
			"what is not UTF-8":           strings.Replace(string(raw), ":", ":\"\xff\",\"x\":", 1),
			"deep":                        strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100),
		} {
			req := request(method, path, token, text)
			want(t, name+" with "+what, r.do(req), http.StatusBadRequest, wire.CodeMalformed)
		}
		req := request(method, path, token, string(raw))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		want(t, name+" as a form", r.do(req), http.StatusBadRequest, wire.CodeMalformed)
	}
	for _, evil := range append(injections, "alice%27--", "alice/../bob", "ALICE", "..") {
		u := "/v1/accounts/" + strings.NewReplacer(" ", "%20", "\x00", "%00", "/", "%2F", "?", "%3F", "#", "%23", `"`, "%22", ";", "%3B").Replace(evil)
		req, err := http.NewRequest("GET", "https://"+domain+u, nil)
		if err != nil {
			continue
		}
		req.Header = request("GET", "/", token, nil).Header
		if rep := r.do(req); rep.status != http.StatusNotFound && rep.status != http.StatusBadRequest && rep.status != http.StatusTemporaryRedirect && rep.status != http.StatusMovedPermanently {
			t.Errorf("name %q: %d %s", evil, rep.status, rep.body)
		}
	}
	want(t, "unknown query", r.call("GET", "/v1/accounts/alice?x=1", token, nil, nil), http.StatusBadRequest, wire.CodeMalformed)
	want(t, "after twice", r.call("GET", "/v1/accounts/alice/manifests?after=1&after=2", token, nil, nil), http.StatusBadRequest, wire.CodeMalformed)
	want(t, "after", r.call("GET", "/v1/accounts/alice/manifests?after=-1", token, nil, nil), http.StatusBadRequest, wire.CodeMalformed)
}

// first returns the name of a field, in quotes.
func first(fields map[string]any) string {
	names := slices.Sorted(maps.Keys(fields))
	return strconv.Quote(names[0])
}

// Bodies above a route's bound are refused; each route has its own bound.
func TestBodyBounds(t *testing.T) {
	r := newRealm(t, wide())
	bob := r.join("bob")
	token := bob.token(wire.RoleAPI)
	for _, c := range []struct {
		method, path string
		limit        int
	}{{"POST", "/v1/challenges", 1 << 10}, {"POST", "/v1/accounts", 16 << 10}, {"PUT", "/v1/prekeys", wire.MaxBody}, {"PUT", "/v1/manifest", 8 << 10}} {
		pad := func(n int) string { return "{" + strings.Repeat(" ", n-2) + "}" }
		want(t, c.path+" too long", r.do(request(c.method, c.path, token, pad(c.limit+1))), http.StatusRequestEntityTooLarge, wire.CodeTooLarge)
		want(t, c.path+" at the bound", r.do(request(c.method, c.path, token, pad(c.limit))), http.StatusBadRequest, wire.CodeMalformed)
	}
	// The largest permitted upload fits: 100 + 100 keys.
	want(t, "full upload", r.call("PUT", "/v1/prekeys", token, bob.stock(100), nil), http.StatusOK, "")
}

// E17 and E19, and the other checks of the front.
func TestFront(t *testing.T) {
	r := newRealm(t, wide())
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/metrics", "/", "/docs", "/openapi.json", "/openapi.yaml", "/v1/", "/schemas/Account.json", "/v1/accounts", "/.git/config"} {
		want(t, path, r.call("GET", path, "", nil, nil), http.StatusNotFound, wire.CodeNotFound)
	}
	req := request("GET", "/v1/realm", "", nil)
	req.Header.Set("Origin", "https://"+domain)
	want(t, "origin", r.do(req), http.StatusForbidden, wire.CodeForbidden)
	for host, status := range map[string]int{
		"evil.example.net": 403, "": 403, "169.254.169.254": 403, domain + ".evil.net": 403, "127.0.0.1:8443": 200, "[::1]:8443": 200,
		"CHAT.example.com": 200, "chat.example.com:443": 200, "localhost": 200,
	} {
		req := request("GET", "/v1/realm", "", nil)
		req.Host = host
		if rep := r.do(req); rep.status != status {
			t.Errorf("host %q: %d", host, rep.status)
		}
	}
	for version, status := range map[string]int{"1": 401, "": 426, "2": 426, "01": 426} {
		req := request("GET", "/v1/contacts", "", nil)
		req.Header.Del(api.ProtocolHeader)
		if version != "" {
			req.Header.Set(api.ProtocolHeader, version)
		}
		if rep := r.do(req); rep.status != status {
			t.Errorf("version %q: %d %s", version, rep.status, rep.body)
		}
	}
	req = request("GET", "/v1/realm", "", nil)
	req.Header.Del(api.ProtocolHeader)
	want(t, "realm without a version", r.do(req), http.StatusOK, "")
	req.Header.Set(api.ProtocolHeader, "9")
	want(t, "realm with another version", r.do(req), http.StatusUpgradeRequired, wire.CodeVersion)
}
