package link

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

func client(t *testing.T, f *fake) *Client {
	t.Helper()
	c := NewClient(f.endpoint(), "alice", f.id, f)
	t.Cleanup(c.Close)
	return c
}

func TestTokenRoles(t *testing.T) {
	f := newFake(t, newRealm(t))
	c := client(t, f)
	for _, role := range []wire.Role{wire.RoleAPI, wire.RoleContact, wire.RoleReplica, wire.RoleAPI} {
		tok, err := c.Token(t.Context(), role)
		check(t, err)
		if tok != string(role)+"-token" {
			t.Errorf("token %q for %s", tok, role)
		}
	}
	if n := f.count("/v1/tokens"); n != 3 {
		t.Errorf("bought %d tokens for 3 roles", n)
	}
	_, err := c.Token(t.Context(), "admin")
	if err == nil {
		t.Error("a token for an unknown role")
	}
	// A device key of another account gets no token.
	other := NewClient(f.endpoint(), "alice", *c.device.Load(), &realDevice{addr: f.addr, device: key.GenerateSigning(), id: f.id})
	defer other.Close()
	if _, err := other.Token(t.Context(), wire.RoleAPI); KindOf(err) != KindRefused {
		t.Errorf("error %v", err)
	}
}

// TestTokenAnew makes the server forget its tokens between two calls.
func TestTokenAnew(t *testing.T) {
	f := newFake(t, newRealm(t))
	var calls atomic.Int32
	f.rest = func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 2 {
			f.refuse(w, http.StatusUnauthorized, wire.CodeUnauthorized)
			return
		}
		f.answer(w, wire.PrekeyCount{OneTimeKEM: 5})
	}
	c := client(t, f)
	for range 2 {
		n, err := c.PrekeyCount(t.Context())
		check(t, err)
		if n.OneTimeKEM != 5 {
			t.Errorf("count %+v", n)
		}
	}
	if n := f.count("/v1/tokens"); n != 2 {
		t.Errorf("bought %d tokens", n)
	}
}

func TestErrors(t *testing.T) {
	for _, x := range []struct {
		status int
		code   wire.Code
		kind   Kind
	}{
		{404, wire.CodeNotFound, KindNotFound},
		{429, wire.CodeRateLimited, KindRateLimited},
		{429, wire.CodeQuota, KindQuota},
		{403, wire.CodeForbidden, KindRefused},
		{401, wire.CodeUnauthorized, KindRefused},
		{403, wire.CodeInvite, KindInvite},
		{409, wire.CodeNameTaken, KindNameTaken},
		{409, wire.CodeConflict, KindConflict},
		{426, wire.CodeVersion, KindVersion},
		{503, wire.CodeUnavailable, KindUnreachable},
		{500, wire.CodeInternal, KindUnreachable},
	} {
		f := newFake(t, newRealm(t))
		f.rest = func(w http.ResponseWriter, _ *http.Request) { f.refuse(w, x.status, x.code) }
		_, err := client(t, f).Account(t.Context(), "bob")
		if wire.CodeOf(err) != x.code || KindOf(err) != x.kind || Wait(err) != 2500*time.Millisecond {
			t.Errorf("%s: error %v, kind %s, wait %s", x.code, err, KindOf(err), Wait(err))
		}
	}
	for name, rest := range map[string]http.HandlerFunc{
		"proxy's page": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html>"))
		},
		"endless body": func(w http.ResponseWriter, _ *http.Request) {
			for b := bytes.Repeat([]byte(" "), 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		},
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example.com/", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, newRealm(t))
			f.rest = rest
			_, err := client(t, f).Account(t.Context(), "bob")
			if KindOf(err) != KindUnreachable {
				t.Errorf("error %v, kind %s", err, KindOf(err))
			}
		})
	}
}

func TestSlowAnswer(t *testing.T) {
	f := newFake(t, newRealm(t))
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	f.rest = func(http.ResponseWriter, *http.Request) { <-release }
	e := f.endpoint()
	e.Timing.Request = 200 * time.Millisecond
	c := NewClient(e, "alice", f.id, f)
	t.Cleanup(c.Close)
	if _, err := c.Account(t.Context(), "bob"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Account(ctx, "bob"); KindOf(err) != KindCanceled {
		t.Errorf("error %v", err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	f := newFake(t, newRealm(t))
	c := client(t, f)
	for _, name := range []string{"", "../admin", "Bob", "a/b", "a%2fb"} {
		_, err := c.Account(t.Context(), name)
		if err == nil || f.count("/v1/tokens") != 0 {
			t.Errorf("%q was asked for: %v", name, err)
		}
		if err := c.PutContact(t.Context(), name, wire.RelationContact); err == nil {
			t.Errorf("%q was made a contact", name)
		}
	}
}

func FuzzErrorOf(f *testing.F) {
	f.Add(429, []byte(`{"error":{"code":"rate_limited","message":"x","retry_after":1e300}}`))
	f.Add(500, []byte(`{"error":null}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := errorOf(status, body)
		if err == nil {
			t.Fatal("no error")
		}
		if KindOf(err) == "" || Wait(err) < 0 {
			t.Fatalf("kind %q, wait %s", KindOf(err), Wait(err))
		}
	})
}

// Numbers outside of their bounds violate the protocol and are not used.
func TestAnswersOutOfBoundsAreRefused(t *testing.T) {
	f := newFake(t, newRealm(t))
	var answer any
	f.rest = func(w http.ResponseWriter, _ *http.Request) { f.answer(w, answer) }
	c := client(t, f)
	for name, call := range map[string]func() error{
		"prekeys": func() error {
			answer = wire.PrekeyCount{OneTimeKEM: -1 << 62}
			_, err := c.PrekeyCount(t.Context())
			return err
		},
		"blob": func() error {
			answer = wire.Blob{ID: "b", ExpiresMS: wire.MaxTime + 1}
			_, err := c.GetBlob(t.Context(), "b")
			return err
		},
		"download": func() error {
			answer = wire.BlobDownload{Size: 1 << 62}
			_, err := c.DownloadBlob(t.Context(), "b")
			return err
		},
		"tickets": func() error {
			answer = wire.BlobTicketList{Tickets: []wire.BlobTicket{{Number: 1, URL: "/", ExpiresMS: -1}}}
			_, err := c.BlobTickets(t.Context(), "b", []wire.BlobPart{{Number: 1}})
			return err
		},
		"bundles": func() error {
			answer = wire.Bundles{Devices: make([]wire.DeviceBundle, wire.MaxDevices+1)}
			_, err := c.Bundles(t.Context(), "bob", nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSetDevice lets a client go on as another device: it uses no token of the first one.
func TestSetDevice(t *testing.T) {
	f := newFake(t, newRealm(t))
	c := client(t, f)
	_, err := c.Token(t.Context(), wire.RoleAPI)
	check(t, err)
	first := f.id
	c.SetDevice(key.DeviceID{9})
	if _, err := c.Token(t.Context(), wire.RoleAPI); KindOf(err) != KindRefused {
		t.Errorf("a token for a device that the server does not know: %v", err)
	}
	c.SetDevice(first)
	_, err = c.Token(t.Context(), wire.RoleAPI)
	check(t, err)
}
