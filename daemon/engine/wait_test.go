package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/local"
)

// next suspends the engine and resumes it, as happens when the device is
// replaced. meanwhile, unless it is nil, runs in between.
func (p *person) next(device key.DeviceID, meanwhile func()) {
	p.t.Helper()
	if err := p.engine.Suspend(context.Background(), nil); err != nil {
		p.t.Fatal(err)
	}
	settleDown(time.Second)
	if meanwhile != nil {
		meanwhile()
	}
	if err := p.engine.Resume(context.Background(), device); err != nil {
		p.t.Fatal(err)
	}
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

func TestAWaitOutlivesItsDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice := p[0]
		alice.link.disconnect()
		result := alice.sending(local.SendParams{Peers: []string{"bob"}, Text: "waits", Wait: waitDelivered, Timeout: 60})
		alice.next(alice.device, nil)
		settleDown(10 * time.Second)
		alice.next(alice.device, nil) // refused again at once
		settleDown(10 * time.Second)
		select {
		case r := <-result:
			t.Fatalf("the wait ended with its device: %+v", r)
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

func TestAWaitWithoutDeviceEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice := p[0]
		alice.link.disconnect()
		start := time.Now()
		result := alice.sending(local.SendParams{Peers: []string{"bob"}, Text: "waits", Wait: waitServer, Timeout: 30})
		alice.next(alice.device, nil)
		r := <-result
		if d := time.Since(start); d != 30*time.Second || r.State != local.StateQueued || r.Error == nil || r.Error.Code != local.CodeTimeout {
			t.Errorf("after %s: %+v", d, r)
		}
	})
}
