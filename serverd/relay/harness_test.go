package relay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for an expected event.
const patience = time.Minute

// never is an interval that no test reaches.
const never = time.Hour

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// faultyStore is a real store whose appends and deletes can be held or failed.
type faultyStore struct {
	*store.SQLite
	failAppend atomic.Bool
	failDelete atomic.Bool
	failLook   atomic.Int32 // number of look-ups of relations that fail
	deletes    atomic.Int32
	mostRows   atomic.Int32                  // of one Delete call
	held       atomic.Pointer[chan struct{}] // appends wait until it is closed
	appending  atomic.Int32
	appended   func([]*store.Mail, []error) // called after each durable append
}

func (f *faultyStore) Append(ctx context.Context, mails []*store.Mail, l store.MailboxLimits) ([]error, error) {
	f.appending.Add(1)
	defer f.appending.Add(-1)
	if held := f.held.Load(); held != nil {
		<-*held
	}
	if f.failAppend.Load() {
		return nil, store.ErrDisk
	}
	results, err := f.SQLite.Append(ctx, mails, l)
	if err == nil && f.appended != nil {
		f.appended(mails, results)
	}
	return results, err
}

func (f *faultyStore) Relation(ctx context.Context, owner, peer string) (store.Relation, error) {
	if f.failLook.Add(-1) >= 0 {
		return store.RelationNone, store.ErrDisk
	}
	return f.SQLite.Relation(ctx, owner, peer)
}

func (f *faultyStore) Delete(ctx context.Context, rows map[key.DeviceID][]int64) error {
	if f.failDelete.Load() {
		return store.ErrDisk
	}
	n := int32(0)
	for _, list := range rows {
		n += int32(len(list))
	}
	f.deletes.Add(1)
	f.mostRows.Store(max(n, f.mostRows.Load()))
	return f.SQLite.Delete(ctx, rows)
}

// hold makes appends wait until the returned function is called.
func (f *faultyStore) hold() (release func()) {
	ch := make(chan struct{})
	f.held.Store(&ch)
	return sync.OnceFunc(func() { f.held.Store(nil); close(ch) })
}

// testDevice is a device's state on disk, and more.
type testDevice struct {
	account string
	id      key.DeviceID
	fence   []byte
	steps   uint64
}

// world is a relay on a real store behind a real HTTP server.
type world struct {
	t     testing.TB
	store *faultyStore
	relay *Relay
	http  *httptest.Server

	mu        sync.Mutex
	tokens    map[string]testDevice
	manifests map[string]store.Manifest
}

// Verify implements Tokens: a token names its role and device.
func (w *world) Verify(_ context.Context, token string, role wire.Role) (string, key.DeviceID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.tokens[token]
	if !ok || !strings.HasPrefix(token, string(role)+"-") {
		return "", key.DeviceID{}, errors.New("no such token")
	}
	return d.account, d.id, nil
}

// quietLimits are limits with all intervals too long to matter.
func quietLimits() Limits {
	return Limits{HandoffWait: never, Ping: never, Revocations: 5 * time.Millisecond, StoreGrace: never, Sweep: never, Directory: never, Farewell: 5 * time.Second}
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "server.db"), store.Options{})
	must(t, err)
	w := &world{t: t, store: &faultyStore{SQLite: db}, tokens: make(map[string]testDevice), manifests: make(map[string]store.Manifest)}
	opts := Options{Store: w.store, Tokens: w, Limits: quietLimits()}
	if change != nil {
		change(&opts)
	}
	w.relay, err = New(opts)
	must(t, err)
	w.http = httptest.NewServer(w.relay.Handler())
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.relay.Close(ctx); err != nil {
		w.t.Error(err)
	}
	w.http.Close()
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// account registers an account with one device.
func (w *world) account(name string) *testDevice {
	w.t.Helper()
	d := &testDevice{account: name, id: key.DeviceID(random(16))}
	token := [32]byte(random(32))
	ctx := context.Background()
	must(w.t, w.store.CreateInvite(ctx, store.Invite{ID: d.id.String(), TokenHash: token, Uses: 1, Expires: time.Now().Add(time.Hour)}))
	m := w.manifest(name, 1, d)
	_, err := w.store.Register(ctx, store.Registration{TokenHash: token, Name: name, Identity: random(32), Manifest: m, Now: time.Now()})
	must(w.t, err)
	return d
}

func (w *world) manifest(name string, version uint64, devices ...*testDevice) store.Manifest {
	m := store.Manifest{Version: version, Signed: fmt.Appendf(nil, "manifest %d of %s", version, name)}
	m.Hash = sha256.Sum256(m.Signed)
	for _, d := range devices {
		m.Devices = append(m.Devices, store.Device{ID: d.id, Account: name, Signing: random(32), Name: "d", Added: time.Now()})
	}
	w.mu.Lock()
	w.manifests[name] = m
	w.mu.Unlock()
	return m
}

// devices puts the next manifest; a nil device is a new one, which is returned.
func (w *world) devices(name string, list ...*testDevice) *testDevice {
	w.t.Helper()
	var fresh *testDevice
	for i, d := range list {
		if d == nil {
			fresh = &testDevice{account: name, id: key.DeviceID(random(16))}
			list[i] = fresh
		}
	}
	w.mu.Lock()
	old := w.manifests[name]
	w.mu.Unlock()
	must(w.t, w.store.PutManifest(context.Background(), name, old.Hash, w.manifest(name, old.Version+1, list...), time.Now()))
	must(w.t, w.relay.AccountChanged(context.Background(), name))
	return fresh
}

func (w *world) relate(owner, peer string, r store.Relation) {
	w.t.Helper()
	must(w.t, w.store.SetRelation(context.Background(), owner, peer, r))
	w.relay.ContactsChanged(owner, peer)
}

// mutual makes all accounts contacts of each other.
func (w *world) mutual(names ...string) {
	for _, a := range names {
		for _, b := range names {
			if a != b {
				w.relate(a, b, store.RelationContact)
			}
		}
	}
}

func (w *world) mailbox(d *testDevice) int {
	w.t.Helper()
	n, _, err := w.store.MailboxSize(context.Background(), d.id)
	must(w.t, err)
	return n
}

func (w *world) token(d *testDevice, role wire.Role) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	token := string(role) + "-" + d.id.String()
	w.tokens[token] = *d
	return token
}

// dial opens a WebSocket of a role.
func (w *world) dial(d *testDevice, role wire.Role) (*websocket.Conn, error) {
	header := http.Header{"Authorization": {"Bearer " + w.token(d, role)}, "Secmsg-Protocol": {"1"}}
	dialer := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the test's own server
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+"/v1/"+string(role), header)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	return ws, err
}
