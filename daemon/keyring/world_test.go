package keyring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
)

func TestMain(m *testing.M) {
	store.GroupsTwice()
	goleak.VerifyTestMain(m)
}

const testDomain = "chat.example.com"

// world is a realm with profiles on disk and without a network.
type world struct {
	t             testing.TB
	root, issuing *identity.Authority
	now           time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	w.root, err = identity.NewRoot(testDomain, w.now)
	check(t, err)
	w.issuing, err = w.root.NewIssuing(testDomain, w.now)
	check(t, err)
	return w
}

// user is a profile with one account.
type user struct {
	w       *world
	dir     string
	st      *store.Store
	keys    *Keyring
	trust   *trust.Trust
	account store.AccountID
	addr    identity.Address
	server  map[identity.PrekeyKind][][]byte // keys uploaded to the server
}

// cheap is a passphrase cost that is fast enough for tests.
func cheap() Options { return Options{Argon2: seal.Argon2Params{Time: 1, Memory: 8, Threads: 1}} }

func (w *world) user(name, passphrase string) *user {
	w.t.Helper()
	u := &user{w: w, dir: w.t.TempDir(), addr: identity.Address{User: name, Domain: testDomain},
		trust: trust.New(trust.Options{}), server: map[identity.PrekeyKind][][]byte{}}
	u.open()
	w.t.Cleanup(func() { _ = u.st.Close() })
	check(w.t, u.keys.Create([]byte(passphrase)))
	u.update(func(tx *store.Tx) error {
		var err error
		u.account, err = u.keys.NewAccount(tx, NewAccount{
			Address: u.addr, Server: "127.0.0.1:8443", Realm: identity.RootFingerprint(w.root.Cert), Root: w.root.Cert.Raw, DeviceName: name + "'s laptop",
		}, w.now)
		if err != nil {
			return err
		}
		reg, err := u.keys.Registration(tx, u.account)
		if err != nil {
			return err
		}
		leaf, err := w.issuing.IssueAccount(reg.CSR, u.addr, w.now)
		if err != nil {
			return err
		}
		a, err := tx.Account(u.account)
		if err != nil {
			return err
		}
		a.Chain = [][]byte{leaf, w.issuing.Cert.Raw}
		tx.OnCommit(u.keys.Forget)
		return errors.Join(tx.SaveAccount(a), tx.SetAccountState(u.account, store.AccountActive))
	})
	return u
}

// open opens store and keyring, also after a restart.
func (u *user) open() {
	u.w.t.Helper()
	var err error
	u.st, err = store.Open(context.Background(), filepath.Join(u.dir, "secmsg.db"), store.Options{})
	check(u.w.t, err)
	u.keys, err = Open(u.st, u.dir, cheap())
	check(u.w.t, err)
	u.keys.stock = limits{full: 4, low: 2, kept: 12} // creating prekeys takes most of the time
}

func (u *user) restart() {
	u.w.t.Helper()
	check(u.w.t, u.st.Close())
	u.open()
}

func (u *user) update(fn func(tx *store.Tx) error) {
	u.w.t.Helper()
	check(u.w.t, u.st.Update(context.Background(), fn))
}

// upload takes the prekeys that the keyring wants to upload.
func (u *user) upload(s Stock) *Upload {
	u.w.t.Helper()
	var up *Upload
	u.update(func(tx *store.Tx) (err error) {
		up, err = u.keys.PrekeyUpload(tx, u.account, s, u.w.now)
		return err
	})
	if up == nil {
		return nil
	}
	if up.SignedPrekey != nil {
		u.server[identity.SignedExchange] = [][]byte{up.SignedPrekey}
	}
	if up.LastResortKEM != nil {
		u.server[identity.LastResortKEM] = [][]byte{up.LastResortKEM}
	}
	u.server[identity.OneTimeExchange] = append(u.server[identity.OneTimeExchange], up.OneTimeExchange...)
	u.server[identity.OneTimeKEM] = append(u.server[identity.OneTimeKEM], up.OneTimeKEM...)
	return up
}

// bundle takes a bundle from the server, with or without one-time keys.
func (u *user) bundle(oneTime bool) Bundle {
	if len(u.server) == 0 {
		u.upload(Stock{})
	}
	b := Bundle{SignedPrekey: u.server[identity.SignedExchange][0], KEMPrekey: u.server[identity.LastResortKEM][0]}
	if oneTime {
		take := func(k identity.PrekeyKind) []byte {
			v := u.server[k][0]
			u.server[k] = u.server[k][1:]
			return v
		}
		b.OneTimeExchange, b.KEMPrekey = take(identity.OneTimeExchange), take(identity.OneTimeKEM)
	}
	return b
}

func (u *user) row() store.Account {
	u.w.t.Helper()
	var a store.Account
	u.update(func(tx *store.Tx) (err error) { a, err = tx.Account(u.account); return err })
	return a
}

// target admits a peer as shown by the server and returns its device.
func (u *user) target(tx *store.Tx, p *user) (Target, error) {
	a := p.row()
	adm, err := u.trust.Admit(tx, u.account, p.addr, a.Chain, [][]byte{a.Manifest}, u.w.now)
	if err != nil {
		return Target{}, err
	}
	return Target{Account: u.account, Peer: adm.Peer, Address: p.addr, Device: adm.Devices[0]}, nil
}

func (u *user) startWith(p *user, b Bundle) {
	u.w.t.Helper()
	u.update(func(tx *store.Tx) error {
		t, err := u.target(tx, p)
		if err != nil {
			return err
		}
		return u.keys.Start(tx, t, b, u.w.now)
	})
}

func messageID(n int) (id [16]byte) {
	id[0], id[14], id[15] = 0x01, byte(n>>8), byte(n)
	return id
}

func (u *user) seal(p *user, n int, text string) []byte {
	u.w.t.Helper()
	var ct []byte
	u.update(func(tx *store.Tx) error {
		t, err := u.target(tx, p)
		if err != nil {
			return err
		}
		ct, err = u.keys.Seal(tx, t, ratchet.ClassDurable, messageID(n), []byte(text), u.w.now)
		return err
	})
	return ct
}

// incoming returns an envelope as delivered by the relay.
func (u *user) incoming(tx *store.Tx, from *user, n int, ct []byte) (Incoming, error) {
	peer, err := tx.Peer(u.account, from.addr.String())
	return Incoming{Account: u.account, Sender: from.addr, Peer: peer, SenderDevice: from.device(), Class: ratchet.ClassDurable,
		MessageID: messageID(n), Ciphertext: ct}, err
}

func (u *user) device() key.DeviceID { return u.row().Device }

func (u *user) tryOpen(from *user, n int, ct []byte) (Opened, error) {
	u.w.t.Helper()
	device := from.device()
	var out Opened
	err := u.st.Update(context.Background(), func(tx *store.Tx) error {
		peer, err := tx.Peer(u.account, from.addr.String())
		if err != nil {
			return err
		}
		out, err = u.keys.Open(tx, Incoming{Account: u.account, Sender: from.addr, Peer: peer, SenderDevice: device,
			Class: ratchet.ClassDurable, MessageID: messageID(n), Ciphertext: ct}, u.trust, u.w.now)
		return err
	})
	return out, err
}

func (u *user) mustOpen(from *user, n int, ct []byte, text string) Opened {
	u.w.t.Helper()
	out, err := u.tryOpen(from, n, ct)
	check(u.w.t, err)
	if string(out.Plaintext) != text {
		u.w.t.Fatalf("opened %q, expected %q", out.Plaintext, text)
	}
	return out
}

func (u *user) steps() uint64 {
	u.w.t.Helper()
	var n uint64
	u.update(func(tx *store.Tx) (err error) { n, err = tx.Steps(u.account); return err })
	return n
}

func (u *user) sessions(p *user) int {
	u.w.t.Helper()
	device := p.device()
	n := 0
	u.update(func(tx *store.Tx) error {
		peer, err := tx.Peer(u.account, p.addr.String())
		if err != nil {
			return err
		}
		list, err := tx.Sessions(store.DeviceRef{Account: u.account, Peer: peer, Device: device})
		n = len(list)
		return err
	})
	return n
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, expected %v", err, want)
	}
}

// everything returns all bytes of the profile on disk: database, WAL, index.
func (u *user) everything() []byte {
	u.w.t.Helper()
	var all []byte
	for _, suffix := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(filepath.Join(u.dir, "secmsg.db"+suffix))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			u.w.t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}
