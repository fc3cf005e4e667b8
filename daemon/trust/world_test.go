package trust

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func TestMain(m *testing.M) {
	store.GroupsTwice()
	goleak.VerifyTestMain(m)
}

const (
	testDomain = "chat.example.com"
	day        = 24 * time.Hour
)

// box encrypts with a random key, as the keyring does.
type box struct{ k seal.StorageKey }

func (b box) Seal(table, column, row string, p []byte) ([]byte, error) {
	return b.k.Seal(seal.Cell{Table: table, Column: column, Row: []byte(row)}, p)
}

func (b box) Open(table, column, row string, s []byte) ([]byte, error) {
	return b.k.Open(seal.Cell{Table: table, Column: column, Row: []byte(row)}, s)
}

func (box) Tag(domain string, b []byte) []byte { return append([]byte(domain+"/"), b...) }

// peer is an account as a malicious server can present it: with any chain and manifest.
type peer struct {
	addr     identity.Address
	id       key.SigningPrivate
	devices  []identity.Device
	chain    [][]byte
	manifest []byte
	version  uint64
}

type world struct {
	t             *testing.T
	root, issuing *identity.Authority
	now           time.Time
	st            *store.Store
	trust         *Trust
	account       store.AccountID
	self          *peer
	noted         []local.Identity // arguments of Notify, including those of rolled back transactions
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	w.root, err = identity.NewRoot(testDomain, w.now)
	check(t, err)
	w.issuing, err = w.root.NewIssuing(testDomain, w.now)
	check(t, err)
	w.st, err = store.Open(context.Background(), filepath.Join(t.TempDir(), "secmsg.db"), store.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, w.st.Close()) })
	w.st.SetBox(box{seal.NewStorageKey()})
	w.trust = New(Options{Notify: func(_ *store.Tx, _ store.AccountID, _ identity.Address, c local.Identity) error {
		w.noted = append(w.noted, c)
		return nil
	}})
	w.self = w.peer("alice")
	w.update(func(tx *store.Tx) error {
		w.account, err = tx.NewAccount(store.Account{
			Address: w.self.addr.String(), Root: w.root.Cert.Raw, Device: w.self.devices[0].ID,
			Chain: w.self.chain, Manifest: w.self.manifest,
		})
		if err != nil {
			return err
		}
		return tx.AddManifestHash(w.account, 0, 1, identity.ManifestHash(w.self.manifest), true)
	})
	return w
}

func (w *world) peer(name string) *peer {
	w.t.Helper()
	p := &peer{addr: identity.Address{User: name, Domain: testDomain}, id: key.GenerateSigning()}
	p.certify(w)
	p.list(w, device(name))
	return p
}

func device(name string) identity.Device {
	d := identity.Device{Signing: key.GenerateSigning().Public(), Exchange: key.GenerateExchange().Public(), Name: name + rand.Text()[:4]}
	d.ID = key.NewDeviceID(d.Signing, d.Exchange)
	return d
}

// certify issues a certificate valid from today.
func (p *peer) certify(w *world) {
	w.t.Helper()
	leaf, err := w.issuing.CertifyAccount(p.id.Public(), p.addr, w.now)
	check(w.t, err)
	p.chain = [][]byte{leaf, w.issuing.Cert.Raw}
}

// list signs the next manifest.
func (p *peer) list(w *world, devices ...identity.Device) []byte {
	w.t.Helper()
	var previous [32]byte
	if p.version > 0 {
		previous = identity.ManifestHash(p.manifest)
	}
	p.version++
	p.devices = devices
	p.manifest = p.sign(w, p.version, previous, devices...)
	return p.manifest
}

func (p *peer) sign(w *world, version uint64, previous [32]byte, devices ...identity.Device) []byte {
	w.t.Helper()
	m := identity.Manifest{Address: p.addr, Version: version, Previous: previous, Time: w.now, Devices: slices.Clone(devices)}
	for i := range m.Devices {
		m.Devices[i].Added = w.now
	}
	signed, err := m.Sign(p.id)
	check(w.t, err)
	return signed
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	check(w.t, w.st.Update(context.Background(), fn))
}

// admit is a look-up with its answer. It commits the transaction whatever Admit returns, as
// the engine does.
func (w *world) admit(addr identity.Address, chain [][]byte, manifests ...[]byte) (out Admission, err error) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		out, err = w.trust.Admit(tx, w.account, addr, chain, manifests, w.now)
		return nil
	})
	return out, err
}

func (w *world) meet(p *peer) Admission {
	w.t.Helper()
	out, err := w.admit(p.addr, p.chain, p.manifest)
	check(w.t, err)
	return out
}

func (w *world) send(p *peer, verified bool) (out Target, err error) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		id, e := tx.Peer(w.account, p.addr.String())
		if e != nil {
			return e
		}
		out, err = w.trust.CheckSend(tx, w.account, id, verified, w.now)
		return nil
	})
	return out, err
}

// initial admits a first message from the peer's device.
func (w *world) initial(p *peer, d identity.Device, manifest []byte) (err error) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		var got identity.Device
		got, err = w.trust.AdmitInitial(tx, w.account, p.addr, d.ID, p.chain, manifest, w.now)
		if err == nil && (got.ID != d.ID || got.Exchange != d.Exchange) {
			w.t.Error("another device was admitted")
		}
		return nil
	})
	return err
}

func (w *world) contact(p *peer) (c local.Contact, err error) {
	w.t.Helper()
	err = w.st.View(context.Background(), func(tx *store.Tx) error {
		c, err = w.trust.Contact(tx, w.account, p.addr)
		return err
	})
	return c, err
}

func ids(devices []identity.Device) (out []key.DeviceID) {
	for _, d := range devices {
		out = append(out, d.ID)
	}
	slices.SortFunc(out, func(a, b key.DeviceID) int { return slices.Compare(a[:], b[:]) })
	return out
}

func changes(list []local.Identity) (out []string) {
	for _, c := range list {
		out = append(out, c.Change)
	}
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, expected %v", err, want)
	}
}

func wantCode(t *testing.T, err error, code local.Code) {
	t.Helper()
	e, ok := errors.AsType[*local.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error %v, expected the code %s", err, code)
	}
}
