package daemon_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// changeAccount changes the account's row of a stopped profile.
func (p *profile) changeAccount(change func(a *store.Account)) {
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
		change(&list[0])
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := alice.client.Send(ctx, local.SendParams{Peers: []string{"bob"}, Text: "two", Wait: "queued"})
	check(t, err)
	if len(r.Results) != 1 || r.Results[0].State != local.StateQueued {
		t.Errorf("result %+v", r)
	}
	alice.stop()
	alice.changeAccount(func(a *store.Account) { a.Pending, a.Server = nil, s.address })
	alice.run()
	eventually(t, "the message leaves", func() bool { return slices.Equal(bob.texts("alice"), []string{"one", "two"}) })
}
