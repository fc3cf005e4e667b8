package link

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"secmsg/rpc/wire"
)

// What the server says about media servers is bounded before anybody parses it.
func TestTurnCredentials(t *testing.T) {
	good := wire.TurnCredentials{
		URLs:     []string{"turn:turn.example.com:3478?transport=udp", "turns:[2001:db8::1]:5349", "stun:192.0.2.1"},
		Username: "1:alice:00", Password: "c2VjcmV0", ExpiresMS: 1000,
	}
	var reply wire.TurnCredentials
	f := newFake(t, newRealm(t))
	f.rest = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/turn" {
			f.refuse(w, http.StatusNotFound, wire.CodeNotFound)
			return
		}
		f.answer(w, reply)
	}
	c := client(t, f)
	reply = good
	got, err := c.TurnCredentials(t.Context())
	check(t, err)
	if !slices.Equal(got.URLs, good.URLs) || got.Username != good.Username || got.Password != good.Password || got.ExpiresMS != good.ExpiresMS {
		t.Errorf("%+v", got)
	}
	for what, change := range map[string]func(*wire.TurnCredentials){
		"no URLs":         func(t *wire.TurnCredentials) { t.URLs = nil },
		"many URLs":       func(t *wire.TurnCredentials) { t.URLs = slices.Repeat([]string{"stun:a"}, wire.MaxTurnURLs+1) },
		"another scheme":  func(t *wire.TurnCredentials) { t.URLs = []string{"http://169.254.169.254/"} },
		"no host":         func(t *wire.TurnCredentials) { t.URLs = []string{"turn:"} },
		"a long URL":      func(t *wire.TurnCredentials) { t.URLs = []string{"turn:" + strings.Repeat("a", wire.MaxTurnText)} },
		"a control":       func(t *wire.TurnCredentials) { t.URLs = []string{"turn:a\r\nb"} },
		"no username":     func(t *wire.TurnCredentials) { t.Username = "" },
		"a long username": func(t *wire.TurnCredentials) { t.Username = strings.Repeat("a", wire.MaxTurnText+1) },
		"no password":     func(t *wire.TurnCredentials) { t.Password = "" },
		"a space":         func(t *wire.TurnCredentials) { t.Password = "a b" },
	} {
		reply = good
		change(&reply)
		if got, err := c.TurnCredentials(t.Context()); !errors.Is(err, ErrProtocol) || len(got.URLs) > 0 {
			t.Errorf("%s: %+v %v", what, got, err)
		}
	}
}
