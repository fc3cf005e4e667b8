package daemon_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"secmsg/daemon"
	"secmsg/rpc/local"
	"secmsg/scripts/poll"
)

// TestTwoDaemons is G10 and fault 19: one wins, the other names it.
func TestTwoDaemons(t *testing.T) {
	p := newProfile(t)
	p.run()
	err := daemon.Run(t.Context(), p.cfg, slog.New(slog.DiscardHandler))
	if e := wantCode(t, err, local.CodeInUse); !strings.Contains(e.Message, strconv.Itoa(os.Getpid())) {
		t.Errorf("the error does not name the pid: %s", e.Message)
	}
	if _, err := p.client.Status(t.Context()); err != nil {
		t.Error("the first daemon was disturbed:", err)
	}
	p.stop()
	p.run() // the lock went with it
}

// TestManyDaemons starts several at once.
func TestManyDaemons(t *testing.T) {
	p := newProfile(t)
	lost := make(chan error, 5)
	for range cap(lost) {
		go func() { lost <- daemon.Run(t.Context(), p.cfg, slog.New(slog.DiscardHandler)) }()
	}
	for range cap(lost) - 1 {
		wantCode(t, <-lost, local.CodeInUse)
	}
	var c *local.Client
	poll.Until(t, "one daemon listens", func() (ok bool) {
		var err error
		c, err = local.Dial(t.Context(), p.target())
		return err == nil
	})
	defer c.Close()
	check(t, c.Stop(t.Context()))
	check(t, <-lost)
}

// TestLoose is G9: whatever others could read is refused, with the chmod to type.
func TestLoose(t *testing.T) {
	p := newServer(t).joined("alice")
	p.stop()
	for name, loosen := range map[string]func(p *profile) (path string, mode os.FileMode){
		"directory": func(p *profile) (string, os.FileMode) { return p.cfg.Paths.Data, 0o750 },
		"database":  func(p *profile) (string, os.FileMode) { return p.cfg.Paths.Database, 0o644 },
		"key":       func(p *profile) (string, os.FileMode) { return filepath.Join(p.cfg.Paths.Data, "storage.key"), 0o640 },
	} {
		t.Run(name, func(t *testing.T) {
			path, mode := loosen(p)
			check(t, os.Chmod(path, mode))
			err := daemon.Run(t.Context(), p.cfg, slog.New(slog.DiscardHandler))
			e := local.As(err)
			if e.Code != local.CodeUsage && e.Code != local.CodeIO || !strings.Contains(e.Message+e.Hint, "chmod") {
				t.Errorf("error %v, hint %q", err, e.Hint)
			}
			check(t, os.Chmod(path, mode&0o700))
		})
	}
	p.run()
}

func TestJoin(t *testing.T) {
	s := newServer(t)
	alice := s.joined("alice")
	a, err := alice.client.Account(t.Context(), "")
	check(t, err)
	if a.Address != "alice@chat.example.com" || !a.Default || a.Server != s.address || len(a.Fingerprint) != 64 || a.CertificateExpires.IsZero() {
		t.Errorf("account %+v", a)
	}

	bob := newProfile(t)
	bob.run()
	nothing := func(p *profile) {
		t.Helper()
		list, err := p.client.Accounts(t.Context())
		check(t, err)
		if len(list) != 0 {
			t.Errorf("a failed join left %+v", list)
		}
		if _, err := os.Stat(filepath.Join(p.cfg.Paths.Data, "storage.key")); !os.IsNotExist(err) {
			t.Errorf("a failed join left a storage key: %v", err)
		}
	}
	join := func(invite, name string) error {
		_, err := bob.client.Join(t.Context(), local.JoinParams{Invite: invite, Name: name})
		return err
	}
	invite := s.invite()
	used := s.invite()
	carol := newProfile(t)
	_, err = carol.run().Join(t.Context(), local.JoinParams{Invite: used, Name: "carol"})
	check(t, err)
	other := newServer(t).invite()
	evil := invite[:strings.LastIndex(invite, ".")] + other[strings.LastIndex(other, "."):]
	nobody := strings.Replace(invite, s.address, "127.0.0.1:1", 1)
	for _, x := range []struct {
		what, invite, name string
		code               local.Code
	}{
		{"no invite", "hello", "bob", local.CodeUsage},
		{"no name", invite, "Bob", local.CodeUsage},
		{"wrong fingerprint", evil, "bob", local.CodeUntrusted},
		{"nobody there", nobody, "bob", local.CodeUnreachable},
		{"used invite", used, "bob", local.CodeRefused},
		{"name taken", invite, "alice", local.CodeUsage},
	} {
		wantCode(t, join(x.invite, x.name), x.code)
		nothing(bob)
	}
	// The invite is still good, and a repeated join is answered as the first.
	check(t, join(invite, "bob"))
	check(t, join(invite, "bob"))
	wantCode(t, join(s.invite(), "bob"), local.CodeUsage)
	bob.stop()
	bob.run()
	bob.connected()
	check(t, join(invite, "bob"))
	if list, _ := bob.client.Accounts(t.Context()); len(list) != 1 {
		t.Errorf("accounts %+v", list)
	}
}

func TestSeveralAccounts(t *testing.T) {
	s := newServer(t)
	p := s.joined("alice")
	_, err := p.client.Join(t.Context(), local.JoinParams{Invite: s.invite(), Name: "work"})
	check(t, err)
	names := func() (out []string) {
		list, err := p.client.Accounts(t.Context())
		check(t, err)
		for _, a := range list {
			if a.Default {
				out = append(out, "*"+a.Name)
			} else {
				out = append(out, a.Name)
			}
		}
		return out
	}
	if got := names(); !slices.Equal(got, []string{"*alice", "work"}) {
		t.Errorf("accounts %v", got)
	}
	check(t, p.client.SetDefaultAccount(t.Context(), "work@chat.example.com"))
	if got := names(); !slices.Equal(got, []string{"alice", "*work"}) {
		t.Errorf("accounts %v", got)
	}
	a, err := p.client.Account(t.Context(), "")
	check(t, err)
	if a.Name != "work" {
		t.Errorf("default is %s", a.Name)
	}
	// They talk to each other.
	p.connected()
	out, err := p.client.Send(t.Context(), local.SendParams{Peers: []string{"alice"}, Text: "from work", Wait: "server", Timeout: patience.Seconds()})
	check(t, err)
	if r := out.Results[0]; r.State != local.StateAccepted {
		t.Errorf("result %+v", r)
	}
	_, err = p.client.Account(t.Context(), "nobody")
	wantCode(t, err, local.CodeNotFound)
	check(t, p.client.RemoveAccount(t.Context(), "work"))
	if got := names(); !slices.Equal(got, []string{"*alice"}) {
		t.Errorf("accounts %v", got)
	}
	p.stop()
	p.run()
	if got := names(); !slices.Equal(got, []string{"*alice"}) {
		t.Errorf("accounts after a restart %v", got)
	}
}

func TestLockedProfile(t *testing.T) {
	s := newServer(t)
	bob := s.joined("bob")
	p := newProfile(t)
	p.run()
	_, err := p.client.Join(t.Context(), local.JoinParams{Invite: s.invite(), Name: "alice", Passphrase: "open sesame"})
	check(t, err)
	p.connected()
	p.send("bob", "hello", "server")
	check(t, p.client.Lock(t.Context()))
	st, err := p.client.Status(t.Context())
	check(t, err)
	if !st.Locked || len(st.Accounts) != 0 {
		t.Errorf("status %+v", st)
	}
	_, err = p.client.Inbox(t.Context(), local.InboxParams{})
	wantCode(t, err, local.CodeLocked)
	if r := p.send("bob", "queued while locked", "queued"); r.State != local.StateQueued {
		t.Errorf("result %+v", r)
	}
	p.stop()
	p.run()
	wantCode(t, p.client.Unlock(t.Context(), "open barley"), local.CodeLocked)
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(p.cfg.Paths.Database + suffix)
		if err == nil && bytes.Contains(b, []byte("queued while locked")) {
			t.Error("a queued text stands in clear")
		}
	}
	check(t, p.client.Unlock(t.Context(), "open sesame"))
	p.connected()
	_, err = bob.client.AddContact(t.Context(), local.PeerParams{Peer: "alice"})
	check(t, err)
	poll.Until(t, "bob has both messages", func() bool {
		return slices.Equal(bob.texts("alice"), []string{"hello", "queued while locked"})
	})
	// A passphrase file opens it at start.
	file := filepath.Join(t.TempDir(), "pass")
	check(t, os.WriteFile(file, []byte("open sesame\n"), 0o600))
	p.stop()
	p.cfg.PassphraseFile = file
	p.run()
	p.connected()
	// So does a systemd credential.
	p.stop()
	p.cfg.PassphraseFile = ""
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "secmsg.passphrase"), []byte("open sesame"), 0o400))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	p.run()
	p.connected()
}

// TestOldCopy is fault 7: a profile restored from an old copy goes on as a new
// device, with history and queue, and peers follow.
func TestOldCopy(t *testing.T) {
	s := newServer(t)
	alice, bob := s.joined("alice"), s.joined("bob")
	_, err := bob.client.AddContact(t.Context(), local.PeerParams{Peer: "alice"})
	check(t, err)
	alice.send("bob", "one", "delivered")
	device := alice.status().Device
	alice.stop()
	old := alice.copyTo(filepath.Join(t.TempDir(), "old"))
	alice.run()
	alice.connected()
	alice.send("bob", "two", "delivered")
	alice.stop()

	old.run()
	old.connected()
	if old.status().Device == device {
		t.Error("an old copy goes on as the same device")
	}
	old.send("bob", "three", "delivered")
	bob.send("alice", "welcome back", "delivered")
	if got := bob.texts("alice"); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("bob has %v", got)
	}
	if got := old.texts("bob"); !slices.Equal(got, []string{"welcome back"}) {
		t.Errorf("alice has %v", got)
	}
	list, err := old.client.Devices(t.Context(), "")
	check(t, err)
	if len(list.Devices) != 1 || !list.Devices[0].This || !list.Devices[0].Primary {
		t.Errorf("devices %+v", list.Devices)
	}
	// The other copy, started now, is off for good.
	alice.run()
	poll.Until(t, "the replaced copy says so", func() bool {
		st := alice.status()
		return !st.Connected && st.Error != nil && st.Error.Code == local.CodeRefused
	})
	if !old.status().Connected {
		t.Error("the replaced copy disturbed the new device")
	}
}

// TestClone runs both copies: the second stays off and says why.
func TestClone(t *testing.T) {
	s := newServer(t)
	alice := s.joined("alice")
	bob := s.joined("bob")
	alice.stop()
	clone := alice.copyTo(filepath.Join(t.TempDir(), "clone"))
	alice.run()
	alice.connected()
	device := alice.status().Device
	clone.run()
	poll.Until(t, "the clone stops and says why", func() bool {
		e := clone.status().Error
		return e != nil && e.Code == local.CodeRefused && strings.Contains(e.Message, "another copy")
	})
	if st := alice.status(); !st.Connected || st.Device != device {
		t.Errorf("the living copy was disturbed: %+v", st)
	}
	alice.send("bob", "still me", "server")
	_, err := bob.client.AddContact(t.Context(), local.PeerParams{Peer: "alice"})
	check(t, err)
	poll.Until(t, "the message arrives", func() bool { return len(bob.texts("alice")) == 1 })
	if n := clone.send("bob", "from the clone", "queued"); n.State != local.StateQueued {
		t.Errorf("result %+v", n)
	}
	// Once the other one is gone, a start enrols it.
	alice.stop()
	clone.stop()
	clone.run()
	clone.connected()
	poll.Until(t, "its queue leaves", func() bool { return slices.Contains(bob.texts("alice"), "from the clone") })
}

func TestContactsOverTheSocket(t *testing.T) {
	s := newServer(t)
	alice, bob := s.joined("alice"), s.joined("bob")
	_, err := alice.client.AddContact(t.Context(), local.PeerParams{Peer: "nobody"})
	wantCode(t, err, local.CodeNotFound)
	_, err = alice.client.Contact(t.Context(), local.PeerParams{Peer: "bob"})
	wantCode(t, err, local.CodeNotFound)
	va, err := alice.client.Verify(t.Context(), local.VerifyParams{PeerParams: local.PeerParams{Peer: "bob"}})
	check(t, err)
	vb, err := bob.client.Verify(t.Context(), local.VerifyParams{PeerParams: local.PeerParams{Peer: "alice"}, Expect: va.SafetyNumber})
	check(t, err)
	if va.Trust != local.TrustCertified || vb.Trust != local.TrustVerified || len(va.SafetyNumber) != 60 {
		t.Errorf("verifications %+v, %+v", va, vb)
	}
	_, err = alice.client.Verify(t.Context(), local.VerifyParams{PeerParams: local.PeerParams{Peer: "bob"}, Expect: strings.Repeat("12345", 12)})
	wantCode(t, err, local.CodeUntrusted)
	c, err := alice.client.Contact(t.Context(), local.PeerParams{Peer: "bob"})
	check(t, err)
	if c.Trust != local.TrustCertified {
		t.Errorf("a mismatch changed trust to %s", c.Trust)
	}
	for _, p := range []local.TrustParams{{}, {Key: "ab", Discard: true}} {
		p.Peer = "bob"
		_, err = alice.client.Trust(t.Context(), p)
		wantCode(t, err, local.CodeUsage)
	}
	_, err = alice.client.Contact(t.Context(), local.PeerParams{Peer: "bob@other.example.com"})
	wantCode(t, err, local.CodeNotFound)
	stream, err := alice.client.Subscribe(t.Context(), local.SubscribeParams{Since: "0", Types: []string{local.TypeIdentity}})
	check(t, err)
	defer stream.Close()
	e, err := stream.Next(t.Context())
	check(t, err)
	if e.Identity == nil || e.Identity.Change != local.ChangeMismatch || e.Peer != "bob@chat.example.com" {
		t.Errorf("event %+v", e)
	}
}
