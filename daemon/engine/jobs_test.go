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
		if !errors.Is(err, errStopped) {
			t.Errorf("%v", err)
		}
		p[0].stop()
	})
}

// Messages that are submitted while the device is replaced keep their order; one
// whose caller gives up before it was queued is not sent; the end of the engine
// refuses the rest.
func TestSendsOutliveADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		submit := func(ctx context.Context, text string) func() (local.SendResults, error) {
			return alice.engine.Submit(ctx, local.SendParams{Peers: []string{"bob"}, Text: text, Wait: waitDelivered, Timeout: 60})
		}
		var waits []func() (local.SendResults, error)
		want := numbered("m", 300)
		for _, text := range want[:100] {
			waits = append(waits, submit(t.Context(), text))
		}
		alice.link.disconnect()
		alice.next(alice.device, func() {
			for _, text := range want[100:150] { // queued at once
				waits = append(waits, submit(t.Context(), text))
			}
			settleDown(time.Second)
			busy, free := make(chan struct{}), make(chan struct{})
			go func() {
				_ = alice.engine.do(t.Context(), func() error { close(busy); <-free; return nil })
			}()
			<-busy
			for _, text := range want[150:200] { // not queued yet
				waits = append(waits, submit(t.Context(), text))
			}
			gone, leave := context.WithCancel(t.Context())
			left := submit(gone, "given up")
			leave()
			if _, err := left(); !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
			close(free)
		})
		alice.link.connect()
		for _, text := range want[200:] {
			waits = append(waits, submit(t.Context(), text))
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
		if _, err := submit(t.Context(), "last")(); !errors.Is(err, errStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// While an engine is suspended it says why at once, and a request to the server
// that was on its way has no effect.
func TestSuspendedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		began, ended := make(chan struct{}), false
		if err := alice.engine.do(t.Context(), func() error {
			alice.engine.worker(func(ctx context.Context) {
				close(began)
				<-ctx.Done()
				time.Sleep(time.Minute) // a request that ends late
				ended = true
			}, func() { t.Error("the answer to a request of the old device was used") })
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		<-began
		alice.link.disconnect()
		why := local.Errorf(local.CodeRefused, "removed")
		if err := alice.engine.Suspend(t.Context(), why); err != nil {
			t.Fatal(err)
		}
		if !ended {
			t.Error("a request to the server goes on")
		}
		start := time.Now()
		if err := alice.engine.Connect(t.Context(), StageMail); err != error(why) {
			t.Errorf("%v", err)
		}
		if err := alice.engine.Reachable(t.Context()); err != error(why) {
			t.Errorf("%v", err)
		}
		if st, err := alice.engine.Status(t.Context()); err != nil || st.Error != why || alice.engine.Suspended() != why {
			t.Errorf("%+v %v", st, err)
		}
		if time.Since(start) > 0 {
			t.Error("it waited for a connection")
		}
		if err := alice.engine.Resume(t.Context(), alice.device); err != nil {
			t.Fatal(err)
		}
		alice.link.connect()
		alice.send("bob", "hello", waitFor(waitDelivered))
		if alice.engine.Suspended() != nil {
			t.Error("connected, and suspended")
		}
	})
}
