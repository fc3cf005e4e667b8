package relay

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestSenderThatWaitsForRoomIsNotSilent: while the store is slow, the relay does not read from a sender
// whose window is full, and so receives no pong from it. The sender does not count as silent.
func TestSenderThatWaitsForRoomIsNotSilent(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Ping, o.Limits.SendWindow = 40*time.Millisecond, 2 })
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	release := w.store.hold()
	defer release()
	pings := 0
	ac.ws.SetPingHandler(func(data string) error {
		if pings++; pings == 10 { // more than two intervals of silence
			release()
		}
		return ac.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(patience))
	})
	const messages = 6
	for i := range byte(messages) {
		ac.send(ac.envelope(bob, i+1, "hello"))
	}
	for i := range messages {
		equal(t, "answer", ac.answer(uint64(i+1)), "accepted")
	}
	if pings < 10 {
		t.Errorf("all was answered after %d pings, so nothing had waited", pings)
	}
}
