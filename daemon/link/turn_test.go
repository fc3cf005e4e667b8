package link

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"secmsg/rpc/wire"
)

// The server's values for media servers are checked before anything parses them.
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

// A remote server cannot name a media server on this machine or its link; a local one can.
func TestTurnOnThisMachine(t *testing.T) {
	for _, u := range []string{
		"turn:127.0.0.1:6379?transport=tcp", "turn:127.0.0.1", "stun:localhost:80", "turn:LOCALHOST.", "turn:a.localhost:1",
		"turn:[::1]:22", "turn:[::1]", "turn:[::ffff:127.0.0.1]:1", "turn:0.0.0.0:1", "turn:[::]:1",
		"stun:169.254.169.254:80", "turn:[fe80::1]:1", "turn:224.0.0.1:1", "turn:127.8.9.10:3478?transport=udp",
	} {
		c := wire.TurnCredentials{URLs: []string{"turn:turn.example.com", u}, Username: "a", Password: "b"}
		if checkTurn(c, false) == nil {
			t.Errorf("%s of a server elsewhere is taken", u)
		}
		if err := checkTurn(c, true); err != nil {
			t.Errorf("%s of a server here: %v", u, err)
		}
	}
	for _, u := range []string{"turn:10.1.2.3:3478", "turn:[fd00::1]:3478", "turn:localhost.example.com"} {
		if err := checkTurn(wire.TurnCredentials{URLs: []string{u}, Username: "a", Password: "b"}, false); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}
