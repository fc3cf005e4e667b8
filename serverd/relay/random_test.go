package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/store"
)

// history records what became durable where, and checks two promises: accepted means durable (promise
// 3), and order per pair of devices.
type history struct {
	t *testing.T

	mu        sync.Mutex // guards below
	rng       *rand.Rand
	stored    map[delivery]bool
	committed map[delivery]bool
	last      map[[2]key.DeviceID]int // sender, recipient: highest number committed
	twice     int
}

// delivery is one message between a pair of devices.
type delivery struct {
	from, to key.DeviceID
	n        int
}

func (h *history) chance(percent int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.IntN(100) < percent
}

func (h *history) between(low, high int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return low + h.rng.IntN(high-low+1)
}

// appended is called after a durable append.
func (h *history) appended(mails []*store.Mail, results []error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, m := range mails {
		if results[i] == nil {
			h.stored[delivery{m.SenderDevice, m.Device, number(m.MessageID[:])}] = true
		}
	}
}

// commit is the recipient's durable point, before its acknowledgement.
func (h *history) commit(to key.DeviceID, e *wire.Envelope) {
	from := key.DeviceID(e.GetSenderDevice())
	n := number(e.GetMessageId())
	h.mu.Lock()
	defer h.mu.Unlock()
	pair := [2]key.DeviceID{from, to}
	switch {
	case n == h.last[pair]+1:
		h.last[pair] = n
	case n <= h.last[pair]:
		h.twice++
	default:
		h.t.Errorf("order: %d arrived after %d", n, h.last[pair])
	}
	h.committed[delivery{from, to, n}] = true
}

// accepted records the relay's result for the sender.
func (h *history) accepted(from, to key.DeviceID, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := delivery{from, to, n}
	if !h.stored[d] && !h.committed[d] {
		h.t.Errorf("message %d was accepted before it was durable", n)
	}
}

func (h *history) have(from, to key.DeviceID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last[[2]key.DeviceID{from, to}]
}

func number(id []byte) int { return int(binary.BigEndian.Uint64(id[8:])) }

func numbered(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n)) }

// TestRandomCrashes sends between devices whose connections break at random, over a store that fails at
// random, with mailboxes and windows so small that every path is taken. It checks the history.
func TestRandomCrashes(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { randomCrashes(t, seed) })
	}
}

func randomCrashes(t *testing.T, seed uint64) {
	const senders, receivers, messages = 3, 3, 50
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), stored: make(map[delivery]bool),
		committed: make(map[delivery]bool), last: make(map[[2]key.DeviceID]int),
	}
	w := newWorld(t, func(o *Options) {
		o.Limits.HandoffWait = 3 * time.Millisecond
		o.Limits.HandoffEnvelopes = 8
		o.Limits.SendWindow = 16
		o.Limits.Messages.Burst = -1
		o.Limits.Mailbox = store.MailboxLimits{Envelopes: 25}
		o.Store = &failing{faultyStore: o.Store.(*faultyStore), h: h}
	})
	w.store.appended = h.appended
	var from, to []*testDevice
	var names []string
	for i := range senders {
		from = append(from, w.account(fmt.Sprint("sender", i)))
		names = append(names, fmt.Sprint("sender", i))
	}
	for i := range receivers {
		to = append(to, w.account(fmt.Sprint("receiver", i)))
		names = append(names, fmt.Sprint("receiver", i))
	}
	w.mutual(names...)
	done := make(chan struct{})
	var pumps, sinks sync.WaitGroup
	for _, d := range to {
		w.contact(d)
		sinks.Go(func() { receiveForever(w, h, d, done) })
	}
	for _, d := range from {
		pumps.Go(func() { sendAll(w, h, d, to, messages) })
	}
	pumps.Wait()
	// Everything is accepted; now everything must arrive.
	poll.Until(t, "delivery of everything accepted", func() bool {
		for _, a := range from {
			for _, b := range to {
				if h.have(a.id, b.id) != messages {
					return t.Failed()
				}
			}
		}
		return true
	})
	close(done)
	sinks.Wait()
	s := w.relay.Stats()
	t.Logf("from memory %d, by mailbox %d, twice %d, bound missed %d, rejected %v", s.Direct, s.Stored, h.twice, s.BoundMissed, s.Rejected)
	poll.Until(t, "no memory held", func() bool { return w.relay.Stats().MemoryBytes == 0 })
}

// failing is a store whose appends fail now and then.
type failing struct {
	*faultyStore
	h *history
}

func (f *failing) Append(ctx context.Context, mails []*store.Mail, l store.MailboxLimits) ([]error, error) {
	if f.h.chance(5) {
		return nil, store.ErrDisk
	}
	return f.faultyStore.Append(ctx, mails, l)
}

// receiveForever is a device that commits, acknowledges from time to time, and loses its connection.
func receiveForever(w *world, h *history, d *testDevice, done chan struct{}) {
	for {
		ws, err := w.dial(d, wire.RoleReplica)
		if err != nil {
			h.t.Error(err)
			return
		}
		c := &client{t: h.t, w: w, d: d, ws: ws}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			select {
			case <-done:
				_ = ws.Close()
			case <-stop:
			}
		})
		receiveSome(c, h)
		close(stop)
		_ = ws.Close()
		wg.Wait()
		select {
		case <-done:
			return
		default:
		}
	}
}

func receiveSome(c *client, h *history) {
	if c.tryWrite(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: c.d.fence, Protocol: 1}}}) != nil {
		return
	}
	frames := h.between(1, 30)
	last := uint64(0)
	for range frames {
		// A device that acknowledged too little to receive more disconnects in the end.
		_ = c.ws.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		var f wire.ReplicaServer
		_, b, err := c.ws.ReadMessage()
		if err != nil || proto.Unmarshal(b, &f) != nil {
			return
		}
		for _, e := range f.GetDeliver().GetEnvelopes() {
			h.commit(c.d.id, e)
			last++
		}
		if h.chance(60) {
			through := uint64(h.between(0, int(last)))
			if h.chance(50) {
				through = last
			}
			if c.tryWrite(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: through}}}) != nil {
				return
			}
		}
	}
}

// sendAll is a client's sending loop: in order for each pair, going back after a refusal, and
// continuing from the first unaccepted envelope after a lost connection.
func sendAll(w *world, h *history, d *testDevice, to []*testDevice, messages int) {
	accepted := make([]map[int]bool, len(to))
	for i := range accepted {
		accepted[i] = make(map[int]bool)
	}
	missing := func() bool {
		for i := range to {
			if len(accepted[i]) < messages {
				return true
			}
		}
		return false
	}
	deadline := time.Now().Add(patience)
	for missing() && !h.t.Failed() {
		if time.Now().After(deadline) {
			h.t.Error("the pump does not finish")
			return
		}
		c := w.contact(d)
		sendSome(c, h, to, accepted, messages)
		_ = c.ws.Close()
	}
}

type sent struct{ pair, n int }

func sendSome(c *client, h *history, to []*testDevice, accepted []map[int]bool, messages int) {
	next := make([]int, len(to))
	for i := range to {
		for next[i] = 1; accepted[i][next[i]]; next[i]++ {
		}
	}
	under := make(map[uint64]sent)
	for range h.between(5, 60) {
		send := new(wire.Send)
		for range h.between(1, 6) {
			i := h.between(0, len(to)-1)
			if next[i] > messages || len(under) >= 12 {
				continue
			}
			o := c.envelope(to[i], 0, "x")
			o.MessageId = numbered(next[i])
			under[o.GetSeq()] = sent{i, next[i]}
			next[i]++
			send.Envelopes = append(send.Envelopes, o)
		}
		if len(send.GetEnvelopes()) > 0 && c.tryWrite(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: send}}) != nil {
			return
		}
		if len(under) == 0 {
			return
		}
		var f wire.ContactServer
		if c.tryRead(&f) != nil {
			return
		}
		refused := false
		for _, seq := range f.GetResult().GetAccepted() {
			s := under[seq]
			delete(under, seq)
			h.accepted(c.d.id, to[s.pair].id, s.n)
			accepted[s.pair][s.n] = true
		}
		for _, r := range f.GetResult().GetRejected() {
			s, ok := under[r.GetSeq()]
			if !ok || r.GetFinal() {
				h.t.Errorf("unexpected result %v", r)
				return
			}
			delete(under, r.GetSeq())
			next[s.pair] = min(next[s.pair], s.n)
			refused = true
		}
		if refused {
			<-time.After(time.Millisecond)
		}
		if f.GetBye() != nil {
			h.t.Errorf("farewell %v", f.GetBye())
			return
		}
	}
}
