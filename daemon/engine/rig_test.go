package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

func TestMain(m *testing.M) {
	store.GroupsTwice()
	goleak.VerifyTestMain(m)
}

// person is an account with everything real but the network.
type person struct {
	t       *testing.T
	relay   *relay
	name    string
	addr    identity.Address
	dir     string
	cfg     Config
	account store.AccountID
	device  key.DeviceID
	st      *store.Store
	keys    *keyring.Keyring
	trust   *trust.Trust
	journal *journal.Journal
	wall    func() time.Time // nil: that of the test
	log     io.Writer        // gets the log of engines to come; nil: nothing is logged
	engine  *Engine
	link    *testLink
	cancel  context.CancelFunc
	done    chan struct{}
}

// testConfig has the intervals of the design, which the fake clock makes quick,
// but for the sweep: a month has too many hours to wait through.
func testConfig() Config { return Config{Sweep: day} }

func join(t *testing.T, r *relay, name string) *person {
	p := &person{t: t, relay: r, name: name, addr: identity.Address{User: name, Domain: "x.example"}, cfg: testConfig()}
	p.dir = profileDir(t)
	p.open()
	if err := p.keys.Create(nil); err != nil {
		t.Fatal(err)
	}
	p.register()
	p.run()
	return p
}

// profileDir makes a directory for a profile, in memory where that is possible:
// these tests restart daemons but cut no power, and an fsync on a busy disk
// takes longer than everything else together.
func profileDir(t *testing.T) string {
	const memory = "/dev/shm"
	dir, err := os.MkdirTemp(memory, "secmsg-engine-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// register makes the account's keys and has them certified.
func (p *person) register() {
	p.t.Helper()
	err := p.st.Update(context.Background(), func(tx *store.Tx) error {
		id, err := p.keys.NewAccount(tx, keyring.NewAccount{
			Address: p.addr, Server: "localhost:1", Root: p.relay.root.Cert.Raw, Realm: identity.RootFingerprint(p.relay.root.Cert), DeviceName: "laptop",
		}, time.Now())
		if err != nil {
			return err
		}
		reg, err := p.keys.Registration(tx, id)
		if err != nil {
			return err
		}
		a, err := tx.Account(id)
		if err != nil {
			return err
		}
		a.Chain = p.relay.certify(p.addr, reg.CSR, reg.Manifest)
		p.account, p.device = id, a.Device
		if err := tx.SaveAccount(a); err != nil {
			return err
		}
		return tx.SetAccountState(id, store.AccountActive)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.keys.Forget()
}

func (p *person) logger() *slog.Logger {
	if p.log != nil {
		return slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if !testing.Verbose() || os.Getenv("ENGINE_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", p.name)
}

func (p *person) open() {
	p.t.Helper()
	var err error
	if p.st, err = store.Open(context.Background(), filepath.Join(p.dir, "secmsg.db"), store.Options{Idle: 24 * time.Hour}); err != nil {
		p.t.Fatal(err)
	}
	if p.keys, err = keyring.Open(p.st, p.dir, keyring.Options{}); err != nil {
		p.t.Fatal(err)
	}
	p.journal = journal.New(p.st, journal.Options{Logger: p.logger()})
	p.trust = trust.New(trust.Options{Notify: func(tx *store.Tx, _ store.AccountID, peer identity.Address, c local.Identity) error {
		return p.engine.NotifyIdentity(tx, peer, c)
	}})
}

func (p *person) run() {
	p.engine = New(Options{
		Account: p.account, Address: p.addr, Device: p.device, Store: p.st, Keyring: p.keys, Trust: p.trust,
		Journal: p.journal, Logger: p.logger(), Config: p.cfg, Now: p.wall,
	})
	if p.link == nil {
		p.link = &testLink{relay: p.relay, user: p.name, device: p.device}
	}
	p.link.mu.Lock()
	p.link.device, p.link.handler = p.device, p.engine
	p.link.mu.Unlock()
	p.engine.SetLink(p.link)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		_ = p.engine.Run(ctx)
	}()
}

func (p *person) stop() {
	p.link.disconnect()
	p.cancel()
	<-p.done
	p.journal.Close()
	if err := p.st.Close(); err != nil {
		p.t.Error(err)
	}
}

// restart stops everything and opens the same file again.
func (p *person) restart() {
	p.stop()
	p.open()
	p.run()
}

func (p *person) send(to, text string, more ...func(*local.SendParams)) local.SendResult {
	p.t.Helper()
	params := local.SendParams{Peers: []string{to}, Text: text, Wait: waitQueued}
	for _, f := range more {
		f(&params)
	}
	res, err := p.engine.Send(context.Background(), params)
	if err != nil {
		p.t.Fatalf("%s sends to %s: %v", p.name, to, err)
	}
	if len(res.Results) != 1 {
		p.t.Fatalf("%d results", len(res.Results))
	}
	return res.Results[0]
}

func waitFor(level string) func(*local.SendParams) {
	return func(p *local.SendParams) { p.Wait = level }
}

func (p *person) history(with string) []local.Event {
	p.t.Helper()
	res, err := p.engine.History(context.Background(), local.HistoryParams{Peer: with, Limit: maxList})
	if err != nil {
		if local.As(err).Code == local.CodeNotFound {
			return nil
		}
		p.t.Fatal(err)
	}
	return res.Events
}

// texts returns the texts of one direction.
func (p *person) texts(with, direction string) []string {
	p.t.Helper()
	var out []string
	for _, e := range p.history(with) {
		if e.Direction == direction {
			out = append(out, e.Message.Text)
		}
	}
	return out
}

func (p *person) stateOf(with, id string) string {
	p.t.Helper()
	for _, e := range p.history(with) {
		if e.ID == id {
			return e.Message.State
		}
	}
	return "none"
}

func (p *person) wantState(with, id, want string) {
	p.t.Helper()
	if got := p.stateOf(with, id); got != want {
		p.t.Errorf("message of %s to %s is %s, want %s", p.name, with, got, want)
	}
}

// events returns the events of a type that the journal has.
func (p *person) events(typ string) []local.Event {
	p.t.Helper()
	_, s, err := p.journal.Subscribe(context.Background(), journal.Filter{}, local.SubscribeParams{Since: "0", Types: []string{typ}, Outgoing: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	var out []local.Event
	for {
		select {
		case e := <-s.Events():
			out = append(out, e)
		case <-time.After(time.Millisecond):
			return out
		}
	}
}

func (p *person) add(who string) {
	p.t.Helper()
	err := p.st.Update(context.Background(), func(tx *store.Tx) error {
		_, err := p.trust.Add(tx, p.account, identity.Address{User: who, Domain: "x.example"})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.engine.Wake()
}

// settleDown lets everything happen that happens within d.
func settleDown(d time.Duration) {
	time.Sleep(d) // the fake clock of synctest
	synctest.Wait()
}

// world is a relay with connected people who are each other's contacts.
func world(t *testing.T, names ...string) (*relay, []*person) {
	r := newRelay(t)
	var people []*person
	for _, n := range names {
		p := join(t, r, n)
		people = append(people, p)
		p.link.connect()
	}
	settleDown(time.Second)
	for _, p := range people {
		for _, other := range names {
			if other != p.name {
				p.add(other)
			}
		}
	}
	settleDown(5 * time.Second)
	return r, people
}

func stopAll(people ...*person) {
	for _, p := range people {
		p.stop()
	}
}

func numbered(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d of %d: %q", what, len(got), len(want), got)
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: at %d %q, want %q (%q)", what, i, got[i], want[i], got)
			return
		}
	}
}
