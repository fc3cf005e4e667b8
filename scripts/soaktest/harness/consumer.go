package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/ledger"
)

// Names of the two consumers of each user, after the way they acknowledge.
const (
	consumerAuto   = "auto"
	consumerManual = "manual"
)

const (
	// maxUnacked is how many events the manual consumer reads at most before it acknowledges; an
	// acknowledgement covers all earlier events.
	maxUnacked = 8
	// restartPause is the pause between two processes of a consumer.
	restartPause = 20 * time.Millisecond
)

// consumer runs `listen --consumer` repeatedly.
type consumer struct {
	h    *harness
	user string
	name string
	rng  *rand.Rand // owned by the reading goroutine

	mu   sync.Mutex
	proc *lab.Consumer // guarded by mu
}

// read runs the consumer until ctx ends, and restarts it whenever it ends.
func (c *consumer) read(ctx context.Context) error {
	for run := 1; ctx.Err() == nil; run++ {
		p, err := c.h.world.Consume(c.user, "listen", "--consumer", c.name, "--type", "message", "--ack", c.name, "-o", "json")
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, p.Kill)
		c.set(p)
		err = c.lines(ctx, p, run)
		c.set(nil)
		p.Kill()
		stop()
		for range p.Lines() { // after an error, drain the remaining lines
		}
		if err != nil {
			return err
		}
		if sleep(ctx, restartPause) != nil {
			return nil // the test is over
		}
	}
	return nil
}

func (c *consumer) set(p *lab.Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proc = p
}

// kill kills the current process. It returns false if there is none.
func (c *consumer) kill() bool {
	c.mu.Lock()
	p := c.proc
	c.mu.Unlock()
	if p == nil {
		return false
	}
	p.Kill()
	return true
}

// lines records the output of one process, and acknowledges.
func (c *consumer) lines(ctx context.Context, p *lab.Consumer, run int) error {
	unacked, limit, last := 0, 1+c.rng.IntN(maxUnacked), int64(0)
	for line := range p.Lines() {
		var e local.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return fmt.Errorf("consumer %s of %s printed %q: %w", c.name, c.user, line, err)
		}
		if e.Message == nil {
			continue
		}
		c.h.rec.Shown(ledger.Show{User: c.user, Consumer: c.name, Run: run, Seq: e.Seq, ID: e.ID, Text: e.Message.Text})
		if c.name == consumerAuto {
			// The process prints the next event only after the last one was acknowledged.
			c.acked(run, last)
			last = e.Seq
			continue
		}
		if unacked++; unacked < limit {
			continue
		}
		if c.ack(ctx, e.Seq) {
			c.acked(run, e.Seq)
			unacked, limit = 0, 1+c.rng.IntN(maxUnacked)
		}
	}
	return nil
}

// ack acknowledges with the command and reports whether that certainly succeeded.
func (c *consumer) ack(ctx context.Context, seq int64) bool {
	r, err := c.h.world.Run(ctx, c.user, "", "ack", "--consumer", c.name, strconv.FormatInt(seq, 10))
	return err == nil && r.Code == 0
}

// acked records an acknowledgement that certainly succeeded during a run.
func (c *consumer) acked(run int, seq int64) {
	if seq > 0 {
		c.h.rec.Acked(ledger.Ack{User: c.user, Consumer: c.name, Before: run + 1, Seq: seq})
	}
}

// attached waits until every consumer is registered at its daemon, so that it misses nothing.
func (h *harness) attached(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("consumers did not attach"))
	defer cancel()
	for _, u := range h.users {
		err := lab.Poll(ctx, "the consumers of "+u.name+" are known", func() bool {
			out, err := h.world.Must(ctx, u.name, "", "consumer", "list", "-o", "json")
			return err == nil && strings.Contains(out, `"`+consumerAuto+`"`) && strings.Contains(out, `"`+consumerManual+`"`)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
