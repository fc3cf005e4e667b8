package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
)

func TestMessagesGoBothWaysAndStatesAreTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		r := alice.send("bob", "hello", waitFor(waitDelivered))
		if r.State != local.StateDelivered || r.Error != nil {
			t.Fatalf("%+v", r)
		}
		bob.send("alice", "hi", waitFor(waitServer))
		settleDown(time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"hello"})
		equal(t, "alice got", alice.texts("bob", local.DirectionIn), []string{"hi"})
		inbox, err := bob.engine.Inbox(t.Context(), local.InboxParams{})
		if err != nil || len(inbox.Events) != 1 || inbox.Events[0].Message.Text != "hello" {
			t.Fatalf("%+v %v", inbox, err)
		}
		settleDown(time.Second)
		alice.wantState("bob", r.ID, local.StateRead)
		again, err := bob.engine.Inbox(t.Context(), local.InboxParams{})
		if err != nil || len(again.Events) != 0 {
			t.Errorf("read twice: %+v %v", again, err)
		}
		var states []string
		for _, e := range alice.events(local.TypeReceipt) {
			if e.Receipt.MessageID == r.ID {
				states = append(states, e.Receipt.State)
			}
		}
		equal(t, "states", states, []string{local.StateAccepted, local.StateDelivered, local.StateRead})
	})
}
