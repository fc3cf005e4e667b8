package relay

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
)

func TestFenceOpening(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	first := w.contact(alice)
	one := alice.fence
	// The device stored the next value, and the connection broke before the confirmation.
	half := w.connect(alice, wire.RoleContact)
	half.fence(one, 0)
	two := half.contactFrame().GetIssued().GetValue()
	must(t, half.ws.Close())
	first.noResultYet() // an unconfirmed opening replaces nothing

	alice.fence = two
	second := w.contact(alice)
	if r := first.bye().GetReason(); r != wire.Reason_REASON_REPLACED {
		t.Fatalf("older connection ended with %v", r)
	}
	equal(t, "presence over the new one", second.states(false, "x"), "x")
	// The previous value is no longer valid, and replaces no connection.
	for _, value := range [][]byte{one, two, {}, random(fenceSize)} {
		stale := w.connect(alice, wire.RoleContact)
		stale.fence(value, 10)
		bye := stale.bye()
		equal(t, "reason", bye.GetReason(), wire.Reason_REASON_STALE_FENCE)
		equal(t, "text", bye.GetText(), wire.ByeOtherCopy)
	}
	equal(t, "presence after stale copies", second.states(false, "y"), "y")
	must(t, second.ws.Close())
	poll.Until(t, "disconnect", func() bool { return w.relay.Stats().Contacts == 0 })
	stale := w.connect(alice, wire.RoleContact)
	stale.fence(two, 10)
	if text := stale.bye().GetText(); text == wire.ByeOtherCopy {
		t.Fatal("another copy is reported although there is none")
	}
	w.contact(alice)
}

func TestFenceSteps(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	c := w.contact(alice)
	alice.steps = 41
	equal(t, "send", c.say(bob, 1, "x"), "accepted")
	must(t, c.ws.Close())
	poll.Until(t, "steps durable at disconnect", func() bool {
		f, err := w.store.Fence(context.Background(), alice.id)
		return err == nil && f.Steps == 42
	})
	old := w.connect(alice, wire.RoleContact)
	old.fence(alice.fence, 41)
	equal(t, "reason", old.bye().GetReason(), wire.Reason_REASON_STALE_FENCE)
	c = w.contact(alice)
	r, _ := w.replica(alice)
	alice.steps = 99
	r.ack(0)
	// A copy behind steps that only memory knows is refused, too.
	poll.Until(t, "steps heard", func() bool {
		d := w.relay.devices.peek(alice.id)
		defer d.release()
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.steps == 100
	})
	old = w.connect(alice, wire.RoleContact)
	old.fence(alice.fence, 99)
	equal(t, "reason", old.bye().GetReason(), wire.Reason_REASON_STALE_FENCE)
	equal(t, "live connection", c.states(false, "x"), "x")
}

// TestFenceTakeoverAfterSealing: the connected copy seals more between the moment when another copy
// shows its steps and its confirmation; then the other copy is old, however long it took.
func TestFenceTakeoverAfterSealing(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac, ar := w.online(alice)
	clone := *alice
	cc := w.connect(&clone, wire.RoleContact)
	cc.fence(clone.fence, clone.steps)
	issued := cc.contactFrame().GetIssued().GetValue()
	equal(t, "sealed by the one that is connected", ac.say(bob, 1, "x"), "accepted")
	cc.confirm(issued)
	bye := cc.bye()
	equal(t, "reason", bye.GetReason(), wire.Reason_REASON_STALE_FENCE)
	equal(t, "text", bye.GetText(), wire.ByeOtherCopy)
	equal(t, "it goes on", ac.say(bob, 2, "x"), "accepted")

	// Acknowledging does not indicate another copy: only the contact connection broke.
	again := w.connect(alice, wire.RoleContact)
	again.fence(alice.fence, alice.steps)
	alice.fence = again.contactFrame().GetIssued().GetValue()
	ar.ack(0)
	poll.Until(t, "steps of the acknowledgement", func() bool {
		d := w.relay.devices.peek(alice.id)
		defer d.release()
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.steps == alice.steps
	})
	again.confirm(alice.fence)
	if again.contactFrame().GetConfirmed() == nil {
		t.Fatal("a device was refused for its own acknowledgement")
	}
}

func TestFenceProtocol(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	for name, frames := range map[string][]*wire.ContactClient{
		"send first":               {{Frame: &wire.ContactClient_Send{Send: &wire.Send{}}}},
		"version":                  {{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Protocol: 2}}}},
		"confirm first":            {{Frame: &wire.ContactClient_Confirm{Confirm: &wire.FenceConfirm{}}}},
		"wrong confirm":            {{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Protocol: 1}}}, {Frame: &wire.ContactClient_Confirm{Confirm: &wire.FenceConfirm{Value: random(fenceSize)}}}},
		"send before confirmation": {{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Protocol: 1}}}, {Frame: &wire.ContactClient_Send{Send: &wire.Send{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.connect(alice, wire.RoleContact)
			for _, f := range frames {
				c.write(f)
			}
			equal(t, "reason", c.bye().GetReason(), wire.Reason_REASON_PROTOCOL)
		})
	}
}

func TestReplicaOpening(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	refused := func(value []byte, protocol uint32) wire.Reason {
		t.Helper()
		c := w.connect(alice, wire.RoleReplica)
		c.write(&wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: value, Protocol: protocol}}})
		return c.bye().GetReason()
	}
	equal(t, "no fence yet", refused(nil, 1), wire.Reason_REASON_STALE_FENCE)
	w.contact(alice)
	equal(t, "wrong value", refused(random(fenceSize), 1), wire.Reason_REASON_STALE_FENCE)
	equal(t, "version", refused(alice.fence, 2), wire.Reason_REASON_PROTOCOL)
	first, _ := w.replica(alice)
	second, _ := w.replica(alice)
	equal(t, "older one", first.bye().GetReason(), wire.Reason_REASON_REPLACED)
	// A new fence value ends a replica connection opened under the old one, without a Bye, which would
	// stop the device.
	w.contact(alice)
	if err := second.tryRead(new(wire.ReplicaServer)); err == nil {
		t.Fatal("a replica connection stayed open after its fence")
	}
	w.replica(alice)
}

func TestUpgradeRefused(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	for _, c := range []struct {
		name   string
		path   string
		header http.Header
		status int
	}{
		{"no token", "/v1/contact", http.Header{}, http.StatusUnauthorized},
		{"wrong token", "/v1/contact", http.Header{"Authorization": {"Bearer x"}}, http.StatusUnauthorized},
		{"other role", "/v1/contact", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleReplica)}}, http.StatusUnauthorized},
		{"other role", "/v1/replica", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleContact)}}, http.StatusUnauthorized},
		{"browser", "/v1/contact", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleContact)}, "Origin": {w.http.URL}}, http.StatusForbidden},
		{"null origin", "/v1/contact", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleContact)}, "Origin": {"null"}}, http.StatusForbidden},
		{"version", "/v1/contact", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleContact)}, "Secmsg-Protocol": {"2"}}, http.StatusUpgradeRequired},
	} {
		ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+c.path, c.header)
		if err == nil {
			_ = ws.Close()
			t.Fatalf("%s: upgraded", c.name)
		}
		_ = resp.Body.Close()
		equal(t, c.name, resp.StatusCode, c.status)
	}
	plain, err := http.Get(w.http.URL + "/v1/contact")
	must(t, err)
	must(t, plain.Body.Close())
	equal(t, "plain request", plain.StatusCode, http.StatusUnauthorized)
}

func TestCompressionIsNeverAgreed(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	dialer := websocket.Dialer{EnableCompression: true}
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+"/v1/contact", http.Header{"Authorization": {"Bearer " + w.token(alice, wire.RoleContact)}})
	must(t, err)
	defer ws.Close()
	equal(t, "extensions", resp.Header.Get("Sec-WebSocket-Extensions"), "")
}
