package journal

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Concurrent acknowledgements share a transaction. An invalid one does not affect the
// others, and each consumer has its own cursor.
func TestAcksThatComeTogether(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"one", "two"} {
		r.subscribe(local.SubscribeParams{Consumer: name, Since: "0"}).Close()
	}
	const events = 40
	for i := range events {
		r.append(text(strconv.Itoa(i)))
	}
	var acks sync.WaitGroup
	ack := func(consumer, id string, ok bool) {
		acks.Go(func() {
			if err := r.j.Ack(t.Context(), local.AckParams{Consumer: consumer, ID: id}); (err == nil) != ok {
				t.Errorf("%s %s: %v", consumer, id, err)
			}
		})
	}
	before := r.st.Commits()
	err := r.st.Update(t.Context(), func(*store.Tx) error { // the disk is busy
		for i := range events {
			ack("one", strconv.Itoa(i+1), true)
		}
		ack("two", "7", true)
		ack("two", "no such event", false)
		ack("nobody", "1", false)
		for deadline := time.Now().Add(10 * time.Second); r.waiting() < events+3 && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	acks.Wait()
	if n := r.st.Commits() - before; n > 3 { // the busy one, the first acknowledgement, all others
		t.Errorf("%d commits", n)
	}
	if one, two := r.consumer("one").Cursor, r.consumer("two").Cursor; one != events || two != 7 {
		t.Errorf("cursors %d and %d", one, two)
	}
	if r.waiting() != 0 {
		t.Error("acknowledgements are left")
	}
	ack("one", "1", true) // writing still works
	acks.Wait()
}

func (r *rig) waiting() int {
	r.j.ackMu.Lock()
	defer r.j.ackMu.Unlock()
	return len(r.j.acks)
}
