package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Sends that come together share one transaction, in order; each has its own
// answer, and a bad one takes nothing from its neighbours.
func TestSendsThatComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "first", func(p *local.SendParams) { p.IdempotencyKey = "k" })
		if err := alice.st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := alice.trust.Block(tx, alice.account, p[2].addr)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		// The actor is kept busy, so that all of them wait for it.
		busy, free := make(chan struct{}), make(chan struct{})
		go func() {
			_ = alice.engine.do(t.Context(), func() error { close(busy); <-free; return nil })
		}()
		<-busy
		var waits []func() (local.SendResults, error)
		submit := func(p local.SendParams) {
			p.Wait = waitQueued
			waits = append(waits, alice.engine.Submit(t.Context(), p))
		}
		var want []string
		for i := range 20 {
			submit(local.SendParams{Peers: []string{"bob"}, Text: fmt.Sprint("m", i)})
			want = append(want, fmt.Sprint("m", i))
		}
		bad := map[int]local.Code{20: local.CodeUsage, 21: local.CodeNotFound, 22: local.CodeUsage, 23: local.CodeUntrusted}
		submit(local.SendParams{Peers: []string{"bob"}, Text: "other", IdempotencyKey: "k"})
		submit(local.SendParams{Peers: []string{"bob@y.example"}, Text: "x"})
		submit(local.SendParams{Peers: []string{"bob", "carol"}, Text: "blocked"})
		submit(local.SendParams{Peers: []string{"bob"}, Text: "unverified", Require: requireVerified})
		submit(local.SendParams{Peers: []string{"bob"}, Text: "last"})
		before := alice.st.Commits()
		close(free)
		for i, wait := range waits {
			res, err := wait()
			if code, ok := bad[i]; ok {
				if err == nil || local.As(err).Code != code {
					t.Errorf("send %d: %v, want %s", i, err, code)
				}
				continue
			}
			if err != nil || len(res.Results) != 1 || res.Results[0].State != local.StateQueued {
				t.Errorf("send %d: %+v %v", i, res, err)
			}
		}
		// One for the sends; what follows from them may have begun.
		if n := alice.st.Commits() - before; n > uint64(len(waits)/3) {
			t.Errorf("%d commits for %d sends", n, len(waits))
		}
		settleDown(5 * time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), append(append([]string{"first"}, want...), "last"))
	})
}

// A send that an engine which has ended is asked for says so.
func TestSubmitAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice")
		p[0].cancel()
		<-p[0].done
		_, err := p[0].engine.Send(t.Context(), local.SendParams{Peers: []string{"alice"}, Text: "x"})
		if !Stopped(err) {
			t.Errorf("%v", err)
		}
		p[0].stop()
	})
}

// What is submitted while an engine ends waits for the next one, in order; what
// its caller gives up meanwhile is not sent; the end refuses the rest.
func TestSendsOutliveAnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.sends = NewSends()
		alice.restart()
		alice.link.connect()
		settleDown(time.Second)
		old := alice.engine
		alice.link.disconnect()
		alice.cancel()
		<-alice.done

		submit := func(ctx context.Context, e *Engine, text string) func() (local.SendResults, error) {
			return e.Submit(ctx, local.SendParams{Peers: []string{"bob"}, Text: text, Wait: waitDelivered, Timeout: 60})
		}
		var waits []func() (local.SendResults, error)
		want := numbered("m", 300)
		for _, text := range want[:200] {
			waits = append(waits, submit(t.Context(), old, text))
		}
		gone, leave := context.WithCancel(t.Context())
		left := submit(gone, old, "given up")
		leave()
		if _, err := left(); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		alice.run()
		alice.link.connect()
		for _, text := range want[200:] {
			waits = append(waits, submit(t.Context(), alice.engine, text))
		}
		for i, wait := range waits {
			res, err := wait()
			if err != nil || len(res.Results) != 1 || res.Results[0].Error != nil {
				t.Fatalf("send %d: %+v %v", i, res, err)
			}
		}
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), want)

		alice.cancel()
		<-alice.done
		last := submit(t.Context(), alice.engine, "last")
		alice.sends.End()
		if _, err := last(); !Stopped(err) {
			t.Errorf("after the end: %v", err)
		}
	})
}
