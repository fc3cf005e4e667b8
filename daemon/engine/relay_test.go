package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/link"
	"secmsg/rpc/wire"
)

// relay is a server in memory: it keeps the rules of the protocol, and breaks
// the network where a test says so.
type relay struct {
	t       *testing.T
	root    *identity.Authority
	issuing *identity.Authority

	mu       sync.Mutex
	accounts map[string]*relayAccount
	boxes    map[key.DeviceID][]*wire.Envelope
	links    map[key.DeviceID]*testLink
	seen     []*wire.Outgoing // everything that any device sent, in order
	// reject, if it is set, may answer an envelope in place of the relay.
	reject func(sender string, o *wire.Outgoing) (link.Result, bool)
	faults *faults
	// bundles, if it is set, delays the answer to a user about prekeys.
	bundles func(asker, user string)
	// watching, if it is set, is called while presence is subscribed to.
	watching func()
}

type relayAccount struct {
	chain     [][]byte
	manifests [][]byte
	frozen    int // if not 0, others are shown only so many of the manifests
	devices   map[key.DeviceID]*relayDevice
	relations map[string]wire.Relation
	requests  map[string][16]byte
}

type relayDevice struct {
	signed, last []byte
	exchange     [][]byte
	kem          [][]byte
}

// faults are chances between 0 and 1.
type faults struct {
	mu                                       sync.Mutex
	rng                                      *rand.Rand
	breakBefore, breakAfter, duplicate, mess float64
}

func (f *faults) hit(p func(f *faults) float64) bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < p(f)
}

func (r *relay) broken() *faults {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func (r *relay) setFaults(f *faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
}

func newRelay(t *testing.T) *relay {
	now := time.Now()
	root, err := identity.NewRoot("x.example", now)
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := root.NewIssuing("x.example", now)
	if err != nil {
		t.Fatal(err)
	}
	return &relay{t: t, root: root, issuing: issuing, accounts: map[string]*relayAccount{},
		boxes: map[key.DeviceID][]*wire.Envelope{}, links: map[key.DeviceID]*testLink{}}
}

// certify issues a certificate and makes or replaces the account.
func (r *relay) certify(addr identity.Address, csr, manifest []byte) [][]byte {
	leaf, err := r.issuing.IssueAccount(csr, addr, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	chain := [][]byte{leaf, r.issuing.Cert.Raw}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &relayAccount{chain: chain, manifests: [][]byte{manifest}, devices: map[key.DeviceID]*relayDevice{},
		relations: map[string]wire.Relation{}, requests: map[string][16]byte{}}
	if old := r.accounts[addr.User]; old != nil {
		a.relations = old.relations
	}
	r.accounts[addr.User] = a
	return chain
}

// testLink is a device's connection to the relay. It implements Link.
type testLink struct {
	relay  *relay
	user   string
	device key.DeviceID

	mu      sync.Mutex
	handler link.Handler
	up      bool
	wanted  bool // by the test; a broken connection comes back only then
	watched []string
	ended   chan struct{} // closed when the present connection ends
	wake    chan struct{}
	calls   chan func() // to the handler, in order
	blocked map[key.DeviceID][16]byte
	wg      sync.WaitGroup
	onKick  func()
}

var errDown = errors.New("down")

// brokenFor is how long a broken connection stays down.
const brokenFor = 200 * time.Millisecond

// connect makes both connections stand.
func (l *testLink) connect() {
	l.mu.Lock()
	l.wanted = true
	l.mu.Unlock()
	l.again()
}

func (l *testLink) again() {
	ctx := context.Background()
	l.mu.Lock()
	if l.up || !l.wanted {
		l.mu.Unlock()
		return
	}
	l.up, l.ended, l.wake = true, make(chan struct{}), make(chan struct{}, 1)
	l.calls, l.blocked = make(chan func(), 4096), map[key.DeviceID][16]byte{}
	ended, calls, wake := l.ended, l.calls, l.wake
	h := l.handler
	l.mu.Unlock()
	value := make([]byte, 16)
	if _, _, err := h.Fence(ctx); err != nil {
		l.relay.t.Error(err)
	}
	if err := h.StoreFence(ctx, value); err != nil {
		l.relay.t.Error(err)
	}
	l.relay.mu.Lock()
	l.relay.links[l.device] = l
	l.relay.mu.Unlock()
	h.Up(wire.RoleContact, time.Now())
	h.Up(wire.RoleReplica, time.Now())
	l.wg.Go(func() {
		for {
			select {
			case <-ended:
				return
			case f := <-calls:
				f()
			}
		}
	})
	l.wg.Go(func() { l.receive(h, ended, wake) })
}

// Kick implements Link.
func (l *testLink) Kick() {
	if l.onKick != nil {
		l.onKick()
	}
}

// disconnect ends both and waits.
func (l *testLink) disconnect() {
	l.mu.Lock()
	l.wanted = false
	if !l.up {
		l.mu.Unlock()
		l.wg.Wait()
		return
	}
	l.up = false
	close(l.ended)
	h := l.handler
	l.mu.Unlock()
	l.wg.Wait()
	h.Down(wire.RoleReplica, errDown)
	h.Down(wire.RoleContact, errDown)
}

// drop ends the connection from inside, and makes it again.
func (l *testLink) drop() {
	l.wg.Go(func() {
		l.mu.Lock()
		if !l.up {
			l.mu.Unlock()
			return
		}
		l.up = false
		close(l.ended)
		h := l.handler
		l.mu.Unlock()
		h.Down(wire.RoleContact, errDown)
		h.Down(wire.RoleReplica, errDown)
		time.Sleep(brokenFor) // the fake clock of synctest
		l.again()
	})
}

func (l *testLink) state() (up bool, calls chan func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up, l.calls
}

// receive delivers the mailbox.
func (l *testLink) receive(h link.Handler, ended, wake chan struct{}) {
	for {
		l.relay.mu.Lock()
		box := slices.Clone(l.relay.boxes[l.device])
		l.relay.mu.Unlock()
		batch := box[:min(len(box), 16)]
		if len(batch) > 0 {
			f := l.relay.broken()
			sent := slices.Clone(batch)
			if f.hit(func(f *faults) float64 { return f.duplicate }) {
				sent = append(sent, batch...)
			}
			if f.hit(func(f *faults) float64 { return f.mess }) {
				f.mu.Lock()
				f.rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
				f.mu.Unlock()
			}
			_, err := h.Deliver(context.Background(), sent)
			switch {
			case err != nil:
				select {
				case <-ended:
					return
				case <-time.After(time.Second):
				}
			case f.hit(func(f *faults) float64 { return f.breakAfter }):
				l.drop() // the acknowledgement is lost
			default:
				l.relay.mu.Lock()
				l.relay.boxes[l.device] = slices.DeleteFunc(l.relay.boxes[l.device], func(e *wire.Envelope) bool { return slices.Contains(batch, e) })
				l.relay.mu.Unlock()
			}
			select {
			case <-ended:
				return
			default:
				continue
			}
		}
		h.CaughtUp() // the mailbox is empty
		select {
		case <-ended:
			return
		case <-wake:
		}
	}
}

func (l *testLink) poke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Send implements Link.
func (l *testLink) Send(_ context.Context, envelopes []*wire.Outgoing, _ uint64) error {
	up, calls := l.state()
	if !up {
		return errDown
	}
	f := l.relay.broken()
	if f.hit(func(f *faults) float64 { return f.breakBefore }) {
		l.drop()
		return errDown
	}
	var results []link.Result
	stale := map[string][][]byte{}
	for _, o := range envelopes {
		results = append(results, l.relay.take(l, proto.Clone(o).(*wire.Outgoing), stale))
	}
	if f.hit(func(f *faults) float64 { return f.breakAfter }) {
		l.drop() // the answers are lost
		return nil
	}
	calls <- func() {
		l.mu.Lock()
		h := l.handler
		l.mu.Unlock()
		for account, manifests := range stale {
			h.Stale(context.Background(), account, manifests)
		}
		h.Results(context.Background(), results)
	}
	return nil
}

// take judges one envelope as the relay would.
func (r *relay) take(l *testLink, o *wire.Outgoing, stale map[string][][]byte) link.Result {
	device := key.DeviceID(o.GetDevice())
	res := link.Result{MessageID: [16]byte(o.GetMessageId()), Recipient: o.GetRecipient(), Device: device, Class: o.GetClass()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, o)
	no := func(reason wire.Reason, final bool) link.Result {
		res.Reason, res.Final = reason, final
		if !final && reason != wire.Reason_REASON_REQUEST {
			if _, ok := l.blocked[device]; !ok {
				l.blocked[device] = res.MessageID
			}
		}
		return res
	}
	if first, ok := l.blocked[device]; ok && first != res.MessageID && !o.GetResume() {
		return no(wire.Reason_REASON_ORDER, false)
	}
	delete(l.blocked, device)
	if r.reject != nil {
		if x, ok := r.reject(l.user, o); ok {
			res.RetryAfter = x.RetryAfter
			return no(x.Reason, x.Final)
		}
	}
	a := r.accounts[o.GetRecipient()]
	if a == nil {
		return no(wire.Reason_REASON_UNKNOWN, true)
	}
	if v := uint64(len(a.manifests)); o.GetManifestVersion() < v && a.frozen == 0 && o.GetClass() == wire.Class_CLASS_DURABLE {
		stale[o.GetRecipient()] = a.manifests[o.GetManifestVersion():]
	}
	if a.devices[device] == nil {
		return no(wire.Reason_REASON_DEVICE_GONE, true)
	}
	if o.GetRecipient() != l.user {
		switch a.relations[l.user] {
		case wire.RelationBlocked:
			return no(wire.Reason_REASON_BLOCKED, true)
		case wire.RelationContact:
		default:
			if id, ok := a.requests[l.user]; ok && id != res.MessageID || len(o.GetCiphertext()) > wire.MaxRequestCiphertext {
				return no(wire.Reason_REASON_REQUEST, false)
			}
			a.requests[l.user] = res.MessageID
		}
	}
	res.Accepted = true
	r.boxes[device] = append(r.boxes[device], &wire.Envelope{
		MessageId: o.GetMessageId(), Class: o.GetClass(), Sender: l.user, SenderDevice: slices.Clone(l.device[:]),
		AcceptedMs: time.Now().UnixMilli(), Ciphertext: o.GetCiphertext(),
	})
	if to := r.links[device]; to != nil {
		go to.poke()
	}
	return res
}
