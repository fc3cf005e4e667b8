package journal

import (
	"fmt"
	"testing"

	"secmsg/rpc/local"
)

func (r *rig) ack(consumer, id string) {
	r.t.Helper()
	if err := r.j.Ack(r.t.Context(), local.AckParams{Consumer: consumer, ID: id}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) consumer(name string) local.Consumer {
	r.t.Helper()
	list, err := r.j.Consumers(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range list.Consumers {
		if c.Name == name {
			return c
		}
	}
	r.t.Fatalf("no consumer %q", name)
	return local.Consumer{}
}

// A manual acknowledgement may go beyond the pushed events. Those are done: they are not
// delivered and do not stay in the window.
func TestAcknowledgedBeforeItWasPushed(t *testing.T) {
	r := newRig(t)
	s := r.subscribe(local.SubscribeParams{Consumer: "bot", Window: 2, Since: "0"})
	defer s.Close()
	for i := range 10 {
		r.append(text(fmt.Sprint(i)))
	}
	take(t, s, 2)
	r.ack("bot", "10") // the seq of event 9
	r.append(text("new"))
	if e := take(t, s, 1)[0]; e.ID != "new" {
		t.Errorf("given %s, which was acknowledged", e.ID)
	}
}

// A subscription that ends moves the cursor of its name past excluded events.
// RemoveConsumer waits for that before the name is free for another consumer.
func TestRemovedConsumerLeavesItsNameAlone(t *testing.T) {
	r := newRig(t)
	for range 5 {
		old := r.subscribe(local.SubscribeParams{Consumer: "bot", Since: "0"})
		r.append(local.Event{Type: local.TypePresence})
		if err := r.j.RemoveConsumer(t.Context(), "bot"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-old.done:
		default:
			t.Fatal("the subscription goes on")
		}
		fresh := r.subscribe(local.SubscribeParams{Consumer: "bot", Since: "0", Types: []string{local.TypePresence}})
		take(t, fresh, 1)
		if c := r.consumer("bot"); c.Cursor != 0 {
			t.Fatalf("the new consumer is at %d", c.Cursor)
		}
		if err := r.j.RemoveConsumer(t.Context(), "bot"); err != nil {
			t.Fatal(err)
		}
	}
}

// A dead letter does not acknowledge events that the consumer is still processing.
func TestOnlyTheFirstUnacknowledgedEventFails(t *testing.T) {
	r := newRig(t)
	r.j.retries = 0
	s := r.subscribe(local.SubscribeParams{Consumer: "bot", Since: "0"})
	defer s.Close()
	r.append(text("a"), text("b"))
	take(t, s, 2)
	if _, err := r.j.Fail(t.Context(), local.FailParams{Consumer: "bot", ID: "b"}); local.As(err).Code != local.CodeUsage {
		t.Errorf("b failed before a was acknowledged: %v", err)
	}
	if c := r.consumer("bot"); c.Cursor != 0 || len(c.Dead) != 0 {
		t.Errorf("%+v", c)
	}
	r.ack("bot", "a")
	out, err := r.j.Fail(t.Context(), local.FailParams{Consumer: "bot", ID: "b"})
	if err != nil || !out.Dead {
		t.Errorf("%+v, %v", out, err)
	}
	if c := r.consumer("bot"); c.Cursor != 2 || len(c.Dead) != 1 {
		t.Errorf("%+v", c)
	}
}
