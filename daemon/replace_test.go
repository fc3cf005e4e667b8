package daemon_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/admin"
	"secmsg/rpc/local"
	"secmsg/scripts/poll"
)

// changeAccount changes the account's row of a stopped profile.
func (p *profile) changeAccount(change func(a *store.Account)) {
	p.t.Helper()
	p.change(func(_ *store.Tx, a *store.Account) { change(a) })
}

func (p *profile) change(change func(tx *store.Tx, a *store.Account)) {
	p.t.Helper()
	st, err := store.Open(p.t.Context(), p.cfg.Paths.Database, store.Options{})
	check(p.t, err)
	_, err = keyring.Open(st, p.cfg.Paths.Data, keyring.Options{})
	check(p.t, err)
	check(p.t, st.Update(p.t.Context(), func(tx *store.Tx) error {
		list, err := tx.Accounts()
		if err != nil {
			return err
		}
		change(tx, &list[0])
		return tx.SaveAccount(list[0])
	}))
	check(p.t, st.Close())
}

// TestReplacementWithoutServer stops a device in the middle of its replacement
// and starts it while the server is away: it still answers, keeps what is sent,
// and goes on when the server is back.
func TestReplacementWithoutServer(t *testing.T) {
	s := newServer(t)
	alice, bob := s.joined("alice"), s.joined("bob")
	_, err := bob.client.AddContact(t.Context(), local.PeerParams{Peer: "alice"})
	check(t, err)
	alice.send("bob", "one", "delivered")
	alice.stop()
	alice.changeAccount(func(a *store.Account) { a.Pending, a.Server = []byte("not finished"), "127.0.0.1:1" })
	alice.run()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := alice.client.Send(ctx, local.SendParams{Peers: []string{"bob"}, Text: "two", Wait: "queued"})
	check(t, err)
	if len(r.Results) != 1 || r.Results[0].State != local.StateQueued {
		t.Errorf("result %+v", r)
	}
	alice.stop()
	alice.changeAccount(func(a *store.Account) { a.Pending, a.Server = nil, s.address })
	alice.run()
	poll.Until(t, "the message leaves", func() bool { return slices.Equal(bob.texts("alice"), []string{"one", "two"}) })
}

// outdate makes the running profile one that the server calls outdated.
func (s *server) outdate(p *profile) {
	s.t.Helper()
	s.stop()
	p.change(func(tx *store.Tx, a *store.Account) {
		fence, _, err := tx.Fence(a.ID)
		check(s.t, err)
		fence[0] ^= 1
		check(s.t, tx.SetFence(a.ID, fence))
	})
	s.start()
}

// TestRequestsBetweenReplacementAndConnection replaces a device twice within an hour,
// so that it waits before it connects as the second one. Meanwhile it asks the server
// as that device already.
func TestRequestsBetweenReplacementAndConnection(t *testing.T) {
	s := newServer(t)
	alice := s.joined("alice")
	alice.stop()
	alice.cfg.Intervals.ReconnectMax = time.Hour // the wait
	alice.run()
	for range 2 {
		alice.connected()
		device := alice.status().Device
		s.outdate(alice)
		poll.Until(t, "the device is replaced", func() bool {
			_, err := alice.client.Inbox(t.Context(), local.InboxParams{}) // makes the link try now
			check(t, err)
			list, err := alice.client.Devices(t.Context(), "")
			check(t, err)
			return len(list.Devices) == 1 && list.Devices[0].ID != device
		})
		poll.Until(t, "the server answers the new device", func() bool {
			_, err := alice.client.FileQuota(t.Context(), "")
			return err == nil
		})
	}
	if st := alice.status(); st.Connected || st.Error == nil || st.Error.Code != local.CodeUnreachable {
		t.Errorf("during the wait: %+v", st)
	}
}

// backup copies the database of a stopped server, and restore puts the copy back.
func (s *server) backup() (restore func()) {
	s.t.Helper()
	at := filepath.Join(s.dir, "server.db")
	kept, err := os.ReadFile(at)
	check(s.t, err)
	return func() {
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Remove(at + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.t.Fatal(err)
			}
		}
		check(s.t, os.WriteFile(at, kept, 0o600))
	}
}

// TestRevokedByTheServersWordAlone has the server say that a device was removed
// from its account, which no manifest confirms: an administrator has deleted the
// wrong user. The device says so, keeps what is sent, tries again by itself and at
// each start, and goes on once a backup is restored.
func TestRevokedByTheServersWordAlone(t *testing.T) {
	s := newServer(t)
	alice, bob := s.joined("alice"), s.joined("bob")
	_, err := bob.client.AddContact(t.Context(), local.PeerParams{Peer: "alice"})
	check(t, err)
	alice.send("bob", "one", "delivered")
	s.stop()
	restore := s.backup()
	s.start()
	alice.connected()
	c := admin.NewClient(filepath.Join(s.dir, "admin.sock"))
	defer c.Close()
	check(t, c.DeleteUser(t.Context(), "alice"))
	revoked := func() bool {
		e := alice.status().Error
		return e != nil && e.Cause == local.CauseRevoked
	}
	poll.Until(t, "the server calls the device removed", revoked)
	alice.send("bob", "two", "queued")
	alice.stop()
	alice.run()
	poll.Until(t, "it is tried at the start", func() bool { // the account is not known any more
		e := alice.status().Error
		return e != nil && e.Code == local.CodeRefused
	})
	alice.send("bob", "three", "queued")
	if got := alice.texts("bob"); got != nil {
		t.Errorf("history: %q", got)
	}
	path := filepath.Join(t.TempDir(), "plan.txt")
	check(t, os.WriteFile(path, []byte("the plan"), 0o600))
	sent, err := alice.client.SendFiles(t.Context(), local.FileSendParams{
		Peers: []string{"bob"}, Sources: []local.FileSource{{Path: path}}, Wait: "queued",
	}, nil, nil)
	check(t, err)
	poll.Until(t, "the outbox says why the file waits", func() bool {
		out, err := alice.client.Outbox(t.Context(), "")
		check(t, err)
		i := slices.IndexFunc(out.Results, func(r local.SendResult) bool { return r.ID == sent.Results[0].ID })
		return i >= 0 && out.Results[i].Error != nil && out.Results[i].Error.Code == local.CodeRefused
	})
	s.stop()
	restore()
	s.start()
	poll.Until(t, "it is tried again without a start", func() bool { return alice.status().Connected })
	if e := alice.status().Error; e != nil {
		t.Errorf("connected, and %+v", e)
	}
	poll.Until(t, "what was sent meanwhile arrives", func() bool {
		return slices.Equal(bob.texts("alice"), []string{"one", "two", "three"})
	})
	poll.Until(t, "so does the file", func() bool {
		list, err := bob.client.Files(t.Context(), local.FileListParams{Peer: "alice"})
		check(t, err)
		return len(list.Events) == 1
	})
}

// TestStoppedWithoutProofGoesOn starts a device that is recorded as stopped while
// its manifest lists it.
func TestStoppedWithoutProofGoesOn(t *testing.T) {
	s := newServer(t)
	alice := s.joined("alice")
	alice.stop()
	st, err := store.Open(t.Context(), alice.cfg.Paths.Database, store.Options{})
	check(t, err)
	check(t, st.Update(t.Context(), func(tx *store.Tx) error { return tx.SetAccountState(1, store.AccountStopped) }))
	check(t, st.Close())
	alice.run()
	alice.connected()
}

// TestOlderManifestIsNotFollowed has a stale copy find a server that shows an
// older list of devices than the copy knows. It makes no new device on top of
// that, which would bring a removed one back, and says why.
func TestOlderManifestIsNotFollowed(t *testing.T) {
	s := newServer(t)
	alice := s.joined("alice")
	device := alice.status().Device
	alice.stop()
	alice.change(func(tx *store.Tx, a *store.Account) { // manifests that the server has lost
		seed, err := tx.Key(a.ID, store.KeyIdentity)
		check(t, err)
		private, err := key.ParseSigningSeed(seed)
		check(t, err)
		addr, err := identity.ParseAddress(a.Address)
		check(t, err)
		m, err := identity.VerifyManifest(a.Manifest, addr, private.Public())
		check(t, err)
		for range 2 { // one alone would be uploaded again
			m.Version, m.Previous = m.Version+1, identity.ManifestHash(a.Manifest)
			a.Manifest, err = m.Sign(private)
			check(t, err)
		}
	})
	old := alice.copyTo(filepath.Join(t.TempDir(), "copy"))
	alice.run()
	alice.connected()
	alice.stop() // the copy's fence is an old one now
	old.run()
	poll.Until(t, "it says that the list is old", func() bool {
		e := old.status().Error
		return e != nil && strings.Contains(e.Message, "outdated device list")
	})
	if d := old.status().Device; d != device {
		t.Errorf("it became another device: %s, was %s", d, device)
	}
}
