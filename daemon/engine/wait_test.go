package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
)

// next ends the engine and runs another one on the same store, as happens when
// the device is replaced.
func (p *person) next() {
	p.t.Helper()
	p.cancel()
	<-p.done
	p.run()
}

// sending begins a send and returns where its result comes.
func (p *person) sending(params local.SendParams) <-chan local.SendResult {
	out := make(chan local.SendResult, 1)
	go func() {
		res, err := p.engine.Send(context.Background(), params)
		if err != nil || len(res.Results) != 1 {
			p.t.Errorf("%+v, %v", res, err)
			res.Results = make([]local.SendResult, 1)
		}
		out <- res.Results[0]
	}()
	settleDown(time.Second)
	return out
}

func TestAWaitOutlivesItsEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice := p[0]
		alice.link.disconnect()
		result := alice.sending(local.SendParams{Peers: []string{"bob"}, Text: "waits", Wait: waitDelivered, Timeout: 60})
		alice.next()
		settleDown(10 * time.Second)
		alice.next() // a device that is replaced has three engines one after the other
		settleDown(10 * time.Second)
		select {
		case r := <-result:
			t.Fatalf("the wait ended with its engine: %+v", r)
		default:
		}
		alice.link.connect()
		settleDown(5 * time.Second)
		select {
		case r := <-result:
			if r.State != local.StateDelivered || r.Error != nil {
				t.Errorf("%+v", r)
			}
		default:
			t.Errorf("the wait goes on: %+v", <-result)
		}
	})
}

func TestAWaitWithoutEngineEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice := p[0]
		alice.link.disconnect()
		start := time.Now()
		result := alice.sending(local.SendParams{Peers: []string{"bob"}, Text: "waits", Wait: waitServer, Timeout: 30})
		alice.next()
		r := <-result
		if d := time.Since(start); d != 30*time.Second || r.State != local.StateQueued || r.Error == nil || r.Error.Code != local.CodeTimeout {
			t.Errorf("after %s: %+v", d, r)
		}
	})
}
