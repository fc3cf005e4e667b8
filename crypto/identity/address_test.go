package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	a, err := ParseAddress("alice@chat.example.com")
	if err != nil || a != alice || a.String() != "alice@chat.example.com" || a.URI() != "secmsg://chat.example.com/alice" {
		t.Fatalf("%v, %v", a, err)
	}
	long := strings.Repeat("a2345678.", 28) + "b"
	for _, good := range []string{"a@b", "0@localhost", "a.b_c-d@x-1.example", strings.Repeat("a", 32) + "@" + long, "a@xn--bcher-kva.example"} {
		if a, err := ParseAddress(good); err != nil || a.String() != good {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "@", "alice", "alice@", "@b", "Alice@b", "alice@B", "alice@b.", "alice@.b", "alice@b..c", "alice@-b", "alice@b-",
		".a@b", "-a@b", "_a@b", "a b@c", "a@b c", "a@b@c", "a@b/c", "a@b:1", "a\x00@b", "ä@b", "a@ä", "a@b_c", "a@127.0.0.1", "a@1",
		"a@b.1", "a@[::1]", " a@b", "a@b\n", "a@" + strings.Repeat("b", 64), strings.Repeat("a", 33) + "@b", "a@" + long + ".c", "a%41@b", "--force",
	} {
		if a, err := ParseAddress(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q parsed as %v: %v", bad, a, err)
		}
	}
	var back struct{ A Address }
	data, err := json.Marshal(struct{ A Address }{alice})
	if err != nil || json.Unmarshal(data, &back) != nil || back.A != alice {
		t.Errorf("JSON %s", data)
	}
	if json.Unmarshal([]byte(`{"A":"Alice@b"}`), &back) == nil {
		t.Error("JSON accepted an invalid address")
	}
}

func TestHostPort(t *testing.T) {
	for _, good := range []string{"localhost", "chat.example.com", "chat.example.com:8443", "127.0.0.1", "127.0.0.1:1", "[::1]", "[2001:db8::1]:65535"} {
		if err := ValidHostPort(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ":1", "a:", "a:0", "a:01", "a:65536", "a:-1", "a:+1", "a:1:2", "A", "a/b", "a?", "a b", "a@b", "::1", "[::1", "[::1]x", "[::1]:",
		"[::1]1", "[127.0.0.1]", "[::0001]", "[::1%lo]", "[::FFFF:1.2.3.4]", "127.0.0.01", "1.2.3", "127.1", "a.", "[]", "[a]", "a\n", strings.Repeat("a", 300),
	} {
		if ValidHostPort(bad) == nil {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestInvite(t *testing.T) {
	in := Invite{Addr: "chat.example.com:8443", Token: NewInviteToken(), Fingerprint: Fingerprint{1, 2, 3}}
	text, err := in.URI()
	if err != nil || len(text) > MaxInvite {
		t.Fatalf("%q: %v", text, err)
	}
	out, err := ParseInvite(text)
	if err != nil || out.Addr != in.Addr || out.Fingerprint != in.Fingerprint || !bytes.Equal(out.Token.Bytes(), in.Token.Bytes()) {
		t.Fatalf("%+v: %v", out, err)
	}
	if out.Token.Hash() != in.Token.Hash() || NewInviteToken().Hash() == in.Token.Hash() {
		t.Error("hash")
	}
	for addr, dial := range map[string]string{"h": "h:8443", "h:1": "h:1", "[::1]": "[::1]:8443", "[::1]:1": "[::1]:1"} {
		if got := (Invite{Addr: addr}).DialAddr(); got != dial {
			t.Errorf("%s dials %s", addr, got)
		}
	}
	token, print, _ := strings.Cut(text[strings.IndexByte(text, '#')+1:], ".")
	if len(token) != 22 || len(print) != 43 {
		t.Errorf("token %d, fingerprint %d characters", len(token), len(print))
	}
	head := "secmsg://chat.example.com:8443/join#"
	for name, bad := range map[string]string{
		"empty": "", "space in front": " " + text, "line break": text + "\n", "more": text + "x", "less": text[:len(text)-1],
		"scheme": "https" + text[len("secmsg"):], "upper case": "SECMSG" + text[len("secmsg"):],
		"link code":      strings.Replace(text, "/join#", "/link#", 1),
		"query":          strings.Replace(text, "/join#", "/join?#", 1),
		"no host":        strings.Replace(text, "chat.example.com:8443", "", 1),
		"port 0":         strings.Replace(text, ":8443", ":0", 1),
		"user":           strings.Replace(text, "chat", "a@chat", 1),
		"no fingerprint": head + token, "no token": head + "." + print, "swapped": head + print + "." + token,
		"short token":     head + token[1:] + "." + print,
		"padded":          head + token + "==." + print,
		"broken line":     head + token[:10] + "\n" + token[11:] + "." + print,
		"unused bits":     head + strings.Repeat("A", 21) + "B." + print,
		"standard base64": head + "+" + token[1:] + "." + print,
		"two parts":       text + "." + print,
		"long":            head + strings.Repeat("A", 1<<20),
	} {
		if _, err := ParseInvite(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), token[:8]) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
	if _, err := (Invite{Addr: "h"}).URI(); !errors.Is(err, ErrFormat) {
		t.Error("invite without token")
	}
	if _, err := (Invite{Addr: "h/", Token: in.Token}).URI(); !errors.Is(err, ErrFormat) {
		t.Error("invite without host")
	}
	if _, err := InviteTokenFromBytes(make([]byte, 15)); !errors.Is(err, ErrFormat) {
		t.Error("short token")
	}
	if (InviteToken{}).Bytes() != nil {
		t.Error("zero token has bytes")
	}
}

// Printing an invite does not show its token.
func TestInviteRedaction(t *testing.T) {
	token, err := InviteTokenFromBytes([]byte("CANARYcanaryCANA"))
	if err != nil {
		t.Fatal(err)
	}
	in := Invite{Addr: "h", Token: token}
	var out bytes.Buffer
	for _, v := range []any{in, &in, token, struct{ i Invite }{in}, []*Invite{&in}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%c", "%U", "%t", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		data, err := json.Marshal(v)
		fmt.Fprintln(&out, string(data), err)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", v)
	}
	got := strings.ToLower(out.String())
	for _, form := range []string{"canary", "63616e617279", "67 65 78", "0x43, 0x41", "q0fo", "c a n a",
		strings.ToLower(base64.RawURLEncoding.EncodeToString(token.Bytes()))} {
		if strings.Contains(got, form) {
			t.Errorf("an invite shows its token (%s): %s", form, got)
		}
	}
}

func FuzzInvite(f *testing.F) {
	text, err := Invite{Addr: "chat.example.com", Token: NewInviteToken(), Fingerprint: Fingerprint{1}}.URI()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("secmsg://[::1]:1/join#AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		in, err := ParseInvite(s)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		if out, err := in.URI(); err != nil || out != s {
			t.Errorf("%q is encoded again as %q: %v", s, out, err)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("alice@chat.example.com")
	f.Add("a@b")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseAddress(s); err == nil && (a.String() != s || addressURL(a).String() != a.URI()) {
			t.Errorf("%q parsed as %v, %s", s, a, addressURL(a))
		}
		_ = ValidHostPort(s)
	})
}
