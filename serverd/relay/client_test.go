package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
)

// client is one test connection. It reads only when a method asks for it.
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

// bye reads until the Bye and the end of the connection.
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
		// For both roles: Bye is field 5 of ContactServer and field 3 of ReplicaServer.
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

// contact opens a contact connection like an honest device.
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
	poll.Until(w.t, "direct mode", func() bool {
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

// take records a contact frame in the client.
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
		c.t.Fatalf("envelope %d was answered twice, or was never sent", seq)
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

// statesOf subscribes and returns the first n states of the snapshot.
func (c *client) statesOf(n int, accounts ...string) string {
	c.t.Helper()
	c.presence = nil
	c.write(&wire.ContactClient{Frame: &wire.ContactClient_Subscribe{Subscribe: &wire.Subscribe{Accounts: accounts}}})
	for len(c.presence) < n {
		c.take(c.contactFrame())
	}
	out := make([]string, n)
	for i := range out {
		out[i] = show(c.presence[i])
	}
	return strings.Join(out, " ")
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

// noResultYet asserts that there is no result yet: results are sent before presence.
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
