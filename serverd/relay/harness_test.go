package relay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
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
	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must come.
const patience = time.Minute

// never is an interval that a test does not reach.
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

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		}
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

func (f *faultyStore) Delete(ctx context.Context, rows map[key.DeviceID][]int64) error {
	if f.failDelete.Load() {
		return store.ErrDisk
	}
	return f.SQLite.Delete(ctx, rows)
}

// hold makes appends wait until the returned function is called.
func (f *faultyStore) hold() (release func()) {
	ch := make(chan struct{})
	f.held.Store(&ch)
	return sync.OnceFunc(func() { f.held.Store(nil); close(ch) })
}

// testDevice is what a device keeps on its disk, and more.
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
	conns sync.WaitGroup

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

// quietLimits has every interval out of the way.
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
	token := sha256.Sum256([]byte("invite " + name))
	ctx := context.Background()
	must(w.t, w.store.CreateInvite(ctx, store.Invite{ID: name, TokenHash: token, Uses: 1, Expires: time.Now().Add(time.Hour)}))
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
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+"/v1/"+string(role), header)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	return ws, err
}

// client is one test connection. It reads only when it is told to.
type client struct {
	t  testing.TB
	w  *world
	d  *testDevice
	ws *websocket.Conn

	seq      uint64
	results  map[uint64]*wire.Rejected // nil value: accepted
	presence []*wire.PresenceState
	stale    []*wire.StaleManifest
	next     uint64 // replica: number of the next envelope
}

func (w *world) connect(d *testDevice, role wire.Role) *client {
	w.t.Helper()
	ws, err := w.dial(d, role)
	must(w.t, err)
	c := &client{t: w.t, w: w, d: d, ws: ws, results: make(map[uint64]*wire.Rejected), next: 1}
	w.t.Cleanup(func() { _ = ws.Close() })
	return c
}

func (c *client) write(m proto.Message) {
	c.t.Helper()
	must(c.t, c.tryWrite(m))
}

func (c *client) tryWrite(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return c.ws.WriteMessage(websocket.BinaryMessage, b)
}

func (c *client) tryRead(m proto.Message) error {
	if err := c.ws.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	kind, b, err := c.ws.ReadMessage()
	if err != nil {
		return err
	}
	if kind != websocket.BinaryMessage {
		return errors.New("not a binary frame")
	}
	return proto.Unmarshal(b, m)
}

// contactFrame reads the next frame of a contact connection.
func (c *client) contactFrame() *wire.ContactServer {
	c.t.Helper()
	m := new(wire.ContactServer)
	must(c.t, c.tryRead(m))
	return m
}

func (c *client) replicaFrame() *wire.ReplicaServer {
	c.t.Helper()
	m := new(wire.ReplicaServer)
	must(c.t, c.tryRead(m))
	return m
}

// bye reads until the farewell and the end of the connection.
func (c *client) bye() *wire.Bye {
	c.t.Helper()
	var bye *wire.Bye
	_ = c.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		kind, b, err := c.ws.ReadMessage()
		if err != nil {
			if bye == nil {
				c.t.Fatalf("connection ended without a farewell: %v", err)
			}
			return bye
		}
		if bye != nil || kind != websocket.BinaryMessage {
			c.t.Fatal("frame after the farewell")
		}
		// Both roles: bye is field 5 of ContactServer and 3 of ReplicaServer.
		contact, replica := new(wire.ContactServer), new(wire.ReplicaServer)
		if proto.Unmarshal(b, contact) == nil && contact.GetBye() != nil {
			bye = contact.GetBye()
		} else if proto.Unmarshal(b, replica) == nil && replica.GetBye() != nil {
			bye = replica.GetBye()
		}
	}
}

func (c *client) fence(value []byte, steps uint64) {
	c.t.Helper()
	c.write(&wire.ContactClient{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Value: value, Steps: steps, Protocol: 1}}})
}

func (c *client) confirm(value []byte) {
	c.t.Helper()
	c.write(&wire.ContactClient{Frame: &wire.ContactClient_Confirm{Confirm: &wire.FenceConfirm{Value: value}}})
}

// contact opens a contact connection as an honest device does.
func (w *world) contact(d *testDevice) *client {
	w.t.Helper()
	c := w.connect(d, wire.RoleContact)
	c.fence(d.fence, d.steps)
	issued := c.contactFrame().GetIssued()
	if len(issued.GetValue()) != fenceSize {
		w.t.Fatalf("no fence issued")
	}
	d.fence = issued.GetValue()
	c.confirm(d.fence)
	if c.contactFrame().GetConfirmed() == nil {
		w.t.Fatal("fence not confirmed")
	}
	return c
}

// replica opens a replica connection and returns the backlog; the device has a confirmed fence.
func (w *world) replica(d *testDevice) (*client, uint64) {
	w.t.Helper()
	c := w.connect(d, wire.RoleReplica)
	c.write(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: d.fence, Protocol: 1}}})
	opened := c.replicaFrame().GetOpened()
	if opened == nil {
		w.t.Fatal("replica connection not opened")
	}
	return c, opened.GetBacklog()
}

// online opens both connections of a device and waits until envelopes are handed over from memory.
func (w *world) online(d *testDevice) (contact, replica *client) {
	w.t.Helper()
	contact = w.contact(d)
	replica, _ = w.replica(d)
	w.direct(d)
	return contact, replica
}

// direct waits until a device is in direct mode.
func (w *world) direct(d *testDevice) {
	w.t.Helper()
	eventually(w.t, "direct mode", func() bool {
		dev := w.relay.devices.peek(d.id)
		if dev == nil {
			return false
		}
		defer dev.release()
		dev.mu.Lock()
		defer dev.mu.Unlock()
		return dev.direct
	})
}

// envelope makes an Outgoing to a device with the newest manifest version.
func (c *client) envelope(to *testDevice, id byte, text string) *wire.Outgoing {
	c.w.mu.Lock()
	version := c.w.manifests[to.account].Version
	c.w.mu.Unlock()
	c.seq++
	return &wire.Outgoing{
		Seq: c.seq, MessageId: append(make([]byte, 15), id), Class: wire.Class_CLASS_DURABLE,
		Recipient: to.account, Device: to.id[:], ManifestVersion: version, Ciphertext: []byte(text),
	}
}

func (c *client) send(envelopes ...*wire.Outgoing) {
	c.t.Helper()
	c.d.steps++
	c.write(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: envelopes, Steps: c.d.steps}}})
}

// take sorts a contact frame into the client.
func (c *client) take(f *wire.ContactServer) {
	c.t.Helper()
	switch f := f.GetFrame().(type) {
	case *wire.ContactServer_Result:
		for _, seq := range f.Result.GetAccepted() {
			c.result(seq, nil)
		}
		for _, r := range f.Result.GetRejected() {
			c.result(r.GetSeq(), r)
		}
	case *wire.ContactServer_Presence:
		c.presence = append(c.presence, f.Presence.GetStates()...)
	case *wire.ContactServer_Stale:
		c.stale = append(c.stale, f.Stale)
	default:
		c.t.Fatalf("unexpected frame %v", f)
	}
}

func (c *client) result(seq uint64, r *wire.Rejected) {
	c.t.Helper()
	if _, twice := c.results[seq]; twice || seq == 0 || seq > c.seq {
		c.t.Fatalf("envelope %d answered twice or never sent", seq)
	}
	c.results[seq] = r
}

// answer returns the result of an envelope: "accepted", or the reason with "!" if it is final.
func (c *client) answer(seq uint64) string {
	c.t.Helper()
	for {
		if r, ok := c.results[seq]; ok {
			if r == nil {
				return "accepted"
			}
			name := reasonName(r.GetReason())
			if r.GetFinal() {
				name += "!"
			}
			return name
		}
		c.take(c.contactFrame())
	}
}

// say sends one envelope and returns its result.
func (c *client) say(to *testDevice, id byte, text string) string {
	c.t.Helper()
	o := c.envelope(to, id, text)
	c.send(o)
	return c.answer(o.GetSeq())
}

// states subscribes and returns the snapshot.
func (c *client) states(announce bool, accounts ...string) string {
	c.t.Helper()
	c.presence = nil
	c.write(&wire.ContactClient{Frame: &wire.ContactClient_Subscribe{Subscribe: &wire.Subscribe{Accounts: accounts, Announce: announce}}})
	for len(c.presence) < len(accounts) {
		c.take(c.contactFrame())
	}
	out := make([]string, len(accounts))
	for i, a := range accounts {
		for _, st := range c.presence {
			if st.GetAccount() == a {
				out[i] = show(st)
			}
		}
	}
	return strings.Join(out, " ")
}

func show(st *wire.PresenceState) string {
	s := st.GetAccount()
	if st.GetMutual() {
		s += "+mutual"
	}
	if st.GetOnline() {
		s += "+online"
	}
	if st.GetLastSeenMs() != 0 {
		s += "+seen"
	}
	return s
}

// noResultYet asserts that nothing was answered: results go out before presence.
func (c *client) noResultYet(seqs ...uint64) {
	c.t.Helper()
	c.states(false, "nobody")
	for _, seq := range seqs {
		if _, ok := c.results[seq]; ok {
			c.t.Fatalf("envelope %d was answered early: %s", seq, c.answer(seq))
		}
	}
}

// receive reads n envelopes.
func (c *client) receive(n int) []*wire.Envelope {
	c.t.Helper()
	var out []*wire.Envelope
	for len(out) < n {
		d := c.replicaFrame().GetDeliver()
		if d == nil {
			c.t.Fatal("not a Deliver frame")
		}
		equal(c.t, "number of the first envelope", d.GetFirst(), c.next)
		c.next += uint64(len(d.GetEnvelopes()))
		out = append(out, d.GetEnvelopes()...)
	}
	equal(c.t, "envelopes", len(out), n)
	return out
}

// texts receives n envelopes and joins their texts.
func (c *client) texts(n int) string {
	c.t.Helper()
	var out []string
	for _, e := range c.receive(n) {
		if e.GetClass() == wire.Class_CLASS_NOTICE {
			out = append(out, fmt.Sprintf("%s(%d)", reasonName(e.GetNotice().GetReason()), e.GetNotice().GetMessageId()[15]))
			continue
		}
		out = append(out, string(e.GetCiphertext()))
	}
	return strings.Join(out, " ")
}

func (c *client) ack(through uint64) {
	c.t.Helper()
	c.d.steps++
	c.write(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: through, Steps: c.d.steps}}})
}
