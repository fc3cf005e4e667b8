package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"secmsg/rpc/local"
)

// ackPatience is how long an interrupted command still waits for the
// acknowledgement of what it has shown.
const ackPatience = 2 * time.Second

// acker acknowledges what a consumer has shown. It has one acknowledgement under
// way; as they are cumulative, the next one is for the newest event of those
// that were shown meanwhile.
type acker struct {
	wg sync.WaitGroup

	mu     sync.Mutex
	turn   *sync.Cond // on mu
	shown  int64      // guarded by mu; the newest seq that was shown
	acked  int64      // guarded by mu
	ending bool       // guarded by mu
	err    error      // guarded by mu; ends it
}

// startAcker starts an acker, whose owner ends it. It calls failed when the
// daemon refuses. When ctx ends, what was shown is still acknowledged.
func startAcker(ctx context.Context, failed func(), c *local.Client, consumer string) *acker {
	k := &acker{}
	k.turn = sync.NewCond(&k.mu)
	ended := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ended, func() { time.AfterFunc(ackPatience, cancel) })
	k.wg.Go(func() {
		defer cancel()
		defer stop()
		k.mu.Lock()
		defer k.mu.Unlock()
		for {
			for k.shown == k.acked && !k.ending {
				k.turn.Wait()
			}
			seq := k.shown
			if seq == k.acked {
				return
			}
			k.mu.Unlock()
			err := c.Ack(ctx, local.AckParams{Consumer: consumer, ID: strconv.FormatInt(seq, 10)})
			k.mu.Lock()
			k.acked, k.err = seq, err
			k.turn.Broadcast()
			if err != nil {
				failed()
				return
			}
		}
	})
	return k
}

// ack has everything up to seq acknowledged.
func (k *acker) ack(seq int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shown = seq
	k.turn.Broadcast()
}

// wait waits until everything is acknowledged.
func (k *acker) wait() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.shown != k.acked && k.err == nil {
		k.turn.Wait()
	}
	return k.err
}

// end waits until everything is acknowledged, and for the end of the acker.
func (k *acker) end() error {
	k.mu.Lock()
	k.ending = true
	k.turn.Broadcast()
	k.mu.Unlock()
	k.wg.Wait()
	return k.err
}
