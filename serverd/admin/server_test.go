package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rpc "secmsg/rpc/admin"
	"secmsg/serverd/stats"
	"secmsg/serverd/store"
)

func newServer(t *testing.T) (*Server, store.Store) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "server.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(Options{
		Store: st, Stats: stats.New(time.Now), Domain: "chat.example.com", Address: "chat.example.com:443", BlobQuota: 1 << 30,
		ConfirmClock: func(context.Context) (time.Duration, error) { return 0, nil }, Changed: func(string) {},
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}), st
}

func do(s *Server, method, path, body string) (status int, answer string) {
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(method, "http://admin"+path, strings.NewReader(body)))
	return rec.Code, rec.Body.String()
}

// TestBodiesAreStrict sends bodies that two parsers could read as different requests, and checks that
// none has an effect.
func TestBodiesAreStrict(t *testing.T) {
	s, st := newServer(t)
	for name, body := range map[string]string{
		"twice": `{"uses":1,"uses":100,"life_sec":60}`, "capitals": `{"uses":1,"USES":100,"life_sec":60}`,
		"long s": `{"u\u017fes":100,"life_sec":60}`, "unknown": `{"uses":1,"life_sec":60,"admin":true}`,
		"behind": `{"uses":1,"life_sec":60}{"uses":2}`, "behind, text": `{"uses":1,"life_sec":60} x`,
		"not UTF-8": "{\"uses\":1,\"life_sec\":60,\"\xff\":1}", "array": `[{"uses":1,"life_sec":60}]`,
		"deep": strings.Repeat(`{"uses":`, 100), "many": `{"uses":[` + strings.Repeat("1,", 500) + `1]}`,
		"long": `{"uses":1,"life_sec":60}` + strings.Repeat(" ", maxRequest), "empty": "",
	} {
		status, answer := do(s, "POST", "/invites", body)
		var e rpc.ErrorBody
		if err := json.Unmarshal([]byte(answer), &e); err != nil || status != http.StatusBadRequest || e.Error == nil || e.Error.Code != rpc.CodeMalformed {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if list, err := st.ListInvites(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d invites were made (%v)", len(list), err)
	}
	if status, answer := do(s, "PUT", "/users/alice/quota", `{"bytes":1,"Bytes":2}`); status != http.StatusBadRequest {
		t.Errorf("quota: %d %s", status, answer)
	}
	if status, answer := do(s, "PUT", "/users/alice/quota", `{}`); status != http.StatusBadRequest {
		t.Errorf("quota without a number: %d %s", status, answer)
	}
	if status, answer := do(s, "POST", "/clock/confirm", `{"time":"x"}`); status != http.StatusBadRequest {
		t.Errorf("a body where none is expected: %d %s", status, answer)
	}
	if status, answer := do(s, "POST", "/invites", `{"uses":1,"life_sec":60}`); status != http.StatusOK {
		t.Errorf("a good request: %d %s", status, answer)
	}
}
