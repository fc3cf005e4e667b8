package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/rpc/local"
	"secmsg/scripts/loadgen"
)

// sends is how many messages are measured, one after the other.
const sends = 300

// eventGoal is the goal for the p99 time from the return of send to the event at the recipient's
// consumer, in milliseconds (rpc/DELIVERY.md, "Speed and size").
const eventGoal = 10

// samples are durations of the same operation.
type samples []time.Duration

// quantile sorts the samples and returns the duration below which a share q of them lies.
func (s samples) quantile(q float64) time.Duration {
	slices.Sort(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// runSend measures single messages between two daemons.
func runSend(ctx context.Context, b *bench) (err error) {
	p, err := b.newPair(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	echo, err := echoTimes(ctx, p, b.opt.size)
	if err != nil {
		return err
	}
	text := strings.Repeat("x", b.opt.size)
	queued, event, whole, err := eventTimes(ctx, p, text)
	if err != nil {
		return err
	}
	var delivered samples
	for range sends {
		start := time.Now()
		if err := sendText(ctx, p.alice, text, "delivered"); err != nil {
			return err
		}
		delivered = append(delivered, time.Since(start))
	}
	for _, q := range []struct {
		name  string
		share float64
	}{{"median", 0.5}, {"p99", 0.99}} {
		goal := 0.0
		if q.share == 0.99 {
			goal = eventGoal
		}
		b.out.figure("send until it is on disk, "+q.name, milliseconds(queued.quantile(q.share)), "ms", 0, false)
		b.out.figure("from then to the recipient's event, "+q.name, milliseconds(event.quantile(q.share)), "ms", goal, false)
		b.out.compared("both together, "+q.name, milliseconds(whole.quantile(q.share)), "ms",
			"bare echo", milliseconds(echo.quantile(q.share)), 0, false)
		// Receipts are delayed by 0 to 300 ms on purpose, so this figure means less.
		b.out.figure("send and wait for delivered, "+q.name, milliseconds(delivered.quantile(q.share)), "ms", 0, false)
	}
	return nil
}

// echoTimes measures round trips over a bare WebSocket with TLS.
func echoTimes(ctx context.Context, p *pair, size int) (samples, error) {
	ref, err := startReference(ctx, p.world)
	if err != nil {
		return nil, err
	}
	defer ref.stop()
	ws, err := loadgen.DialWebSocket(ctx, "wss://"+ref.addr+"/echo", "")
	if err != nil {
		return nil, err
	}
	defer ws.Close()
	var s samples
	for range sends {
		start := time.Now()
		if err := ws.WriteMessage(websocket.BinaryMessage, make([]byte, size)); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		s = append(s, time.Since(start))
	}
	return s, nil
}

// eventTimes measures the duration of alice's send, and how long after its return bob's consumer
// receives the event.
func eventTimes(ctx context.Context, p *pair, text string) (queued, event, whole samples, err error) {
	stream, err := p.bob.Subscribe(ctx, local.SubscribeParams{Types: []string{local.TypeMessage}})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("subscribe: %w", err)
	}
	defer stream.Close()
	type arrival struct {
		at  time.Time
		err error
	}
	arrivals := make(chan arrival)
	go func() {
		for range sends {
			_, err := stream.Next(ctx)
			select {
			case arrivals <- arrival{time.Now(), err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for range sends {
		start := time.Now()
		if err := sendText(ctx, p.alice, text, "queued"); err != nil {
			return nil, nil, nil, err
		}
		returned := time.Now()
		a := <-arrivals
		if a.err != nil {
			return nil, nil, nil, fmt.Errorf("bob's events: %w", a.err)
		}
		queued = append(queued, returned.Sub(start))
		event = append(event, max(a.at.Sub(returned), 0)) // the event may arrive before send returns
		whole = append(whole, a.at.Sub(start))
	}
	return queued, event, whole, nil
}

// sendText sends one text to bob and waits for a state.
func sendText(ctx context.Context, c *local.Client, text, wait string) error {
	r, err := c.Send(ctx, local.SendParams{Peers: []string{"bob"}, Text: text, Wait: wait, Timeout: 30})
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for _, one := range r.Results {
		if one.Error != nil {
			return fmt.Errorf("send: %w", one.Error)
		}
	}
	return nil
}
