package admin_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"secmsg/rpc/admin"
)

func TestTime(t *testing.T) {
	at := admin.Time{Time: time.Date(2026, 5, 1, 14, 0, 0, 123456789, time.FixedZone("", 7200))}
	b, err := json.Marshal(at)
	if err != nil || string(b) != `"2026-05-01T12:00:00.123Z"` {
		t.Errorf("%s %v", b, err)
	}
	var back admin.Time
	if err := json.Unmarshal(b, &back); err != nil || !back.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%v %v", back, err)
	}
	if b, err := json.Marshal(admin.Time{}); err != nil || string(b) != "null" {
		t.Errorf("%s %v", b, err)
	}
	if err := json.Unmarshal([]byte("null"), &back); err != nil || !back.IsZero() || back.String() != "-" {
		t.Errorf("%v %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"a":1}`), &back); err == nil {
		t.Error("a JSON object was accepted as a time")
	}
}

// Responses that no correct server sends become errors.
func TestOddAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html>"))
	})
	mux.HandleFunc("GET /invites", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[")) })
	mux.HandleFunc("GET /users/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != "a/b c?" {
			t.Errorf("name arrives as %q", r.PathValue("name"))
		}
		_, _ = w.Write([]byte(`{"name":"x","field_of_the_future":1}`))
	})
	srv := &http.Server{Handler: mux}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	c := admin.NewClient(path)
	defer c.Close()
	if _, err := c.Stats(t.Context()); err == nil {
		t.Error("no error for a 502")
	} else if e, ok := errors.AsType[*admin.Error](err); !ok || e.Code != admin.CodeInternal {
		t.Errorf("got %v", err)
	}
	if _, err := c.Invites(t.Context()); err == nil {
		t.Error("a truncated answer was accepted")
	}
	if u, err := c.User(t.Context(), "a/b c?"); err != nil || u.Name != "x" {
		t.Errorf("%+v %v", u, err)
	}
}
