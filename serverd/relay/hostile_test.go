package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/store"
)

// rawFrame builds a masked client frame with a zero mask (RFC 6455, section 5.2). claimed is the length
// in its header.
func rawFrame(opcode byte, fin bool, claimed uint64, payload []byte) []byte {
	if fin {
		opcode |= 0x80
	}
	b := []byte{opcode, 0x80 | 127}
	b = binary.BigEndian.AppendUint64(b, claimed)
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

// ends reads until the connection has ended.
func (c *client) ends() {
	c.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if e, ok := err.(interface{ Timeout() bool }); ok && e.Timeout() {
				c.t.Fatal("the connection was not closed")
			}
			return
		}
	}
}

func TestFrameLengthLies(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	for _, claimed := range []uint64{1<<63 - 1, 1 << 63, 1<<64 - 1, 1<<32 - 1, wire.MaxFrame + 1} {
		c := w.contact(alice)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.ws.NetConn().Write(rawFrame(websocket.BinaryMessage, true, claimed, make([]byte, 100)))
		must(t, err)
		c.ends()
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
			t.Fatalf("%d bytes allocated for a frame of 100", grown)
		}
	}
}

func TestFragmentsWithoutEnd(t *testing.T) {
	w := newWorld(t, nil)
	c := w.contact(w.account("alice"))
	part := make([]byte, 16<<10)
	opcode := byte(websocket.BinaryMessage)
	for range 3 * wire.MaxFrame / len(part) {
		if _, err := c.ws.NetConn().Write(rawFrame(opcode, false, uint64(len(part)), part)); err != nil {
			break
		}
		opcode = 0 // continuation
	}
	c.ends()
}

func TestFramesOfOtherKinds(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	for name, send := range map[string]func(*client) error{
		"JSON":    func(c *client) error { return c.ws.WriteMessage(websocket.TextMessage, []byte(`{"send":{}}`)) },
		"garbage": func(c *client) error { return c.ws.WriteMessage(websocket.BinaryMessage, []byte("\xff\xff\xff\xff")) },
		"empty":   func(c *client) error { return c.ws.WriteMessage(websocket.BinaryMessage, nil) },
		"replica": func(c *client) error {
			return c.tryWrite(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Ack{Ack: &wire.Ack{Through: 1}}})
		},
		"fence": func(c *client) error {
			return c.tryWrite(&wire.ContactClient{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Protocol: 1}}})
		},
		"too many": func(c *client) error {
			return c.tryWrite(&wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: make([]*wire.Outgoing, wire.MaxBatch+1)}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.contact(alice)
			must(t, send(c))
			equal(t, "reason", c.bye().GetReason(), wire.Reason_REASON_PROTOCOL)
		})
	}
}

func TestControlFloods(t *testing.T) {
	w, _, bob, ac, br := pairOf(t, nil)
	for _, kind := range []int{websocket.PingMessage, websocket.PongMessage} {
		c := w.contact(w.account(fmt.Sprint("flooder", kind)))
		for range 100_000 {
			if err := c.ws.WriteControl(kind, []byte("flood"), time.Now().Add(patience)); err != nil {
				break
			}
		}
		c.ends()
	}
	ac.send(ac.envelope(bob, 1, "x"))
	equal(t, "others are served", br.texts(1), "x")
	// A few pings are answered.
	pong := make(chan string, 1)
	ac.ws.SetPongHandler(func(data string) error { pong <- data; return nil })
	must(t, ac.ws.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(patience)))
	br.ack(1)
	equal(t, "result", ac.answer(1), "accepted")
	for len(pong) == 0 { // it may come after frames under way
		ac.states(false, "x")
	}
	equal(t, "pong", <-pong, "hello")
}

func TestAckSpoofing(t *testing.T) {
	for name, through := range map[string]uint64{"before delivery": 1, "far ahead": 1<<64 - 1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			alice, mallory := w.account("alice"), w.account("mallory")
			w.mutual("alice", "mallory")
			mc := w.contact(mallory)
			equal(t, "mail for alice", mc.say(alice, 1, "hers"), "accepted")
			mr, _ := w.replica(mallory)
			mr.ack(through)
			equal(t, "reason", mr.bye().GetReason(), wire.Reason_REASON_PROTOCOL)
			equal(t, "alice's mailbox", w.mailbox(alice), 1)
		})
	}
	w, _, bob, ac, br := pairOf(t, nil)
	ac.send(ac.envelope(bob, 1, "a"), ac.envelope(bob, 2, "b"))
	br.receive(2)
	br.ack(2)
	equal(t, "result", ac.answer(2), "accepted")
	br.ack(1) // going back has no effect
	br.ack(0)
	ac.send(ac.envelope(bob, 3, "c"))
	equal(t, "still served", br.texts(1), "c")
	equal(t, "protocol errors", w.relay.Stats().ProtocolErrors, 0)
}

// TestSlowConsumer: a replica connection that never reads costs disk, not memory, and does not delay
// others.
func TestSlowConsumer(t *testing.T) {
	w, alice, bob, ac, _ := pairOf(t, func(o *Options) {
		o.Limits.HandoffWait = 10 * time.Millisecond
		o.Limits.Messages.Burst = -1
		o.Limits.Mailbox = store.MailboxLimits{Envelopes: 1 << 20, Bytes: 1 << 40}
	})
	carol := w.account("carol")
	w.mutual("alice", "carol")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const rounds, batch, size = 50, 20, 4 << 10
	text := strings.Repeat("x", size)
	before := heap()
	for range rounds {
		var list []*wire.Outgoing
		for i := range batch {
			list = append(list, ac.envelope(bob, byte(i), text))
		}
		ac.send(list...)
		equal(t, "result", ac.answer(ac.seq), "accepted")
	}
	for seq := range ac.seq {
		equal(t, "result", ac.answer(seq+1), "accepted")
	}
	clear(ac.results)
	if after := heap(); after > before+2<<20 {
		t.Fatalf("heap grew by %d KiB for %d KiB of mail", (after-before)>>10, rounds*batch*size>>10)
	}
	equal(t, "mailbox", w.mailbox(bob), rounds*batch)
	_, cr := w.online(carol)
	ac.send(ac.envelope(carol, 1, "y"))
	equal(t, "others", cr.texts(1), "y")
	_ = alice
}

// TestConnectAndClose: connections that open and close leave nothing behind.
func TestConnectAndClose(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	settle := func() int {
		poll.Until(t, "all connections gone", func() bool {
			s := w.relay.Stats()
			return s.Contacts+s.Replicas+s.Devices == 0
		})
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine()
	}
	round := func(n int) {
		for i := range n {
			var ws *websocket.Conn
			poll.Until(t, "room for one more connection of the device", func() (ok bool) {
				var err error
				ws, err = w.dial(alice, []wire.Role{wire.RoleContact, wire.RoleReplica}[i%2])
				return err == nil
			})
			if i%3 == 0 {
				must(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
			}
			must(t, ws.Close())
		}
	}
	round(20)
	base := settle()
	round(2000)
	poll.Until(t, "goroutines back to the baseline", func() bool { return settle() <= base+5 })
}

func TestKeepAlive(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Ping = 40 * time.Millisecond })
	alice, bob := w.account("alice"), w.account("bob")
	w.contact(alice) // never reads again, so never answers a ping
	bc := w.contact(bob)
	pings := make(chan struct{}, 1000)
	bc.ws.SetPingHandler(func(data string) error {
		pings <- struct{}{}
		return bc.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(patience))
	})
	closed := make(chan error, 1)
	go func() {
		_, _, err := bc.ws.ReadMessage()
		closed <- err
	}()
	poll.Until(t, "the silent one is closed", func() bool { return w.relay.Stats().Contacts == 1 })
	for range 5 {
		<-pings
	}
	equal(t, "the answering one lives", w.relay.Stats().Contacts, 1)
	must(t, bc.ws.Close())
	<-closed
}

func TestOpeningIsBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Open = 20 * time.Millisecond })
	alice := w.account("alice")
	for _, role := range []wire.Role{wire.RoleContact, wire.RoleReplica} {
		w.connect(alice, role).ends()
	}
	half := w.connect(alice, wire.RoleContact)
	half.fence(nil, 0)
	half.ends()
	poll.Until(t, "all connections gone", func() bool { return w.relay.Stats().Devices == 0 })
}

// unreadable is a store that cannot be read.
type unreadable struct{ *faultyStore }

func (unreadable) Revocations(context.Context, int64) ([]store.Revocation, error) {
	return nil, store.ErrDisk
}

func TestUpgradesFailClosed(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	limits := quietLimits()
	limits.StoreGrace = 10 * time.Millisecond
	if _, err := New(Options{Store: unreadable{w.store}, Tokens: w}); err == nil {
		t.Fatal("a relay started with an unreadable store")
	}
	broken, err := New(Options{Store: &unreadableLater{faultyStore: w.store}, Tokens: w, Limits: limits})
	must(t, err)
	defer broken.Close(context.Background())
	w.http.Config.Handler = broken.Handler()
	poll.Until(t, "refused upgrade", func() bool {
		ws, err := w.dial(alice, wire.RoleContact)
		if err == nil {
			_ = ws.Close()
		}
		return err != nil
	})
}

// unreadableLater can be read only once.
type unreadableLater struct {
	*faultyStore
	calls int
}

func (u *unreadableLater) Revocations(ctx context.Context, after int64) ([]store.Revocation, error) {
	if u.calls++; u.calls > 1 {
		return nil, store.ErrDisk
	}
	return u.faultyStore.Revocations(ctx, after)
}

func FuzzContactFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x1a\x06\x0a\x04\x08\x01\x12\x00"))
	f.Add([]byte("\x22\x07\x0a\x05alice"))
	w := newWorld(f, nil)
	alice := w.account("alice")
	f.Fuzz(func(t *testing.T, frame []byte) {
		ws, err := w.dial(alice, wire.RoleContact)
		must(t, err)
		defer ws.Close()
		c := &client{t: t, w: w, d: alice, ws: ws, results: make(map[uint64]*wire.Rejected)}
		c.fence(alice.fence, 1<<62)
		alice.fence = c.contactFrame().GetIssued().GetValue()
		c.confirm(alice.fence)
		c.contactFrame()
		must(t, ws.WriteMessage(websocket.BinaryMessage, frame))
		// Every frame is answered or ends the connection; the relay survives.
		must(t, ws.WriteMessage(websocket.TextMessage, nil))
		c.ends()
	})
}

// TestResultsDoNotPileUp: from a client that sends but does not read, the relay reads no more than the
// window, whatever the results are.
func TestResultsDoNotPileUp(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.SendWindow = 300 })
	alice := w.account("alice")
	s := &socket{relay: w.relay, killed: true, account: "alice", dead: make(chan struct{})} // it writes nothing
	c := newContact(s)
	c.d = w.relay.devices.acquire(alice.id)
	defer c.d.release()
	c.limiter = w.relay.accounts.acquire("alice")
	defer w.relay.accounts.release("alice")
	read := make(chan uint64)
	go func() {
		for c.waitRoom() {
			out := &wire.Outgoing{Seq: c.seq + 1} // refused at once
			if c.send(&wire.Send{Envelopes: []*wire.Outgoing{out}}) != nil {
				break
			}
		}
		read <- c.seq
	}()
	results := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.rejected)
	}
	poll.Until(t, "a full window", func() bool { return results() == 300 })
	frame, err := c.next(nil) // the writer takes them in one frame, and there is room again
	must(t, err)
	var got wire.ContactServer
	must(t, proto.Unmarshal(frame, &got))
	equal(t, "results", len(got.GetResult().GetRejected()), 300)
	poll.Until(t, "a full window again", func() bool { return results() == 300 })
	close(s.dead)
	equal(t, "envelopes read", <-read, 600)
}

// TestConnectionsOfOneDevice: a token opens a bounded number of connections, and ended ones make room.
func TestConnectionsOfOneDevice(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	var list []*client
	for i := range maxSockets {
		list = append(list, w.connect(alice, []wire.Role{wire.RoleContact, wire.RoleReplica}[i%2]))
	}
	if _, err := w.dial(alice, wire.RoleContact); err == nil {
		t.Fatal("a connection over the limit was upgraded")
	}
	w.contact(bob)
	for _, c := range list {
		must(t, c.ws.Close())
	}
	poll.Until(t, "room again", func() bool {
		w.relay.mu.Lock()
		defer w.relay.mu.Unlock()
		return len(w.relay.perDevice) == 1 // bob's
	})
	w.contact(alice)
}
