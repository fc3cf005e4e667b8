package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/ledger"
)

// Probabilities of a script's choices for a message.
const (
	chanceKey       = 0.6  // use an idempotency key, and repeat until there is an id
	chanceImpatient = 0.03 // kill the send command
	chanceServer    = 0.1  // --wait server
	chanceDelivered = 0.1  // --wait delivered
	chanceDefault   = 0.1  // no --wait; the rest waits for queued
)

const (
	// shortWait bounds a wait for the server, as a command's argument.
	shortWait = "2s"
	// impatience is the longest life of a send command that is killed.
	impatience = 40 * time.Millisecond
	// retryPause is the pause between two attempts.
	retryPause = 30 * time.Millisecond
	// maxAttempts is the number of attempts after which the run has failed.
	maxAttempts = 400
)

// user sends messages to a peer and has two consumers.
type user struct {
	h          *harness
	name, peer string
	rng        *rand.Rand // owned by the sending goroutine
	consumers  []*consumer
}

func newUser(h *harness, i int) *user {
	u := &user{h: h, name: userName(i), peer: userName(i ^ 1)}
	u.rng = lab.NewRand(h.opt.Seed, u.name)
	for _, name := range []string{consumerAuto, consumerManual} {
		u.consumers = append(u.consumers, &consumer{h: h, user: u.name, name: name, rng: lab.NewRand(h.opt.Seed, u.name+name)})
	}
	return u
}

func userName(i int) string { return fmt.Sprintf("user%d", i) }

// send sends n messages, each after the previous one has an id or was given up.
func (u *user) send(ctx context.Context, n int) error {
	for i := range n {
		s := ledger.Send{From: u.name, To: u.peer, Text: fmt.Sprintf("%s %d", u.name, i)}
		err := u.one(ctx, &s)
		u.h.rec.Sent(s)
		if err != nil {
			return err
		}
	}
	return nil
}

// one sends one message; with a key, it repeats the command as often as necessary.
func (u *user) one(ctx context.Context, s *ledger.Send) error {
	args := []string{"send", u.peer, "-o", "json"}
	keyed := u.rng.Float64() < chanceKey
	if keyed {
		args = append(args, "--idempotency-key", "key "+s.Text)
	}
	switch r := u.rng.Float64(); {
	case r < chanceServer:
		args = append(args, "--wait", "server", "--timeout", shortWait)
	case r < chanceServer+chanceDelivered:
		args = append(args, "--wait", "delivered", "--timeout", shortWait)
	case r < chanceServer+chanceDelivered+chanceDefault:
	default:
		args = append(args, "--wait", "queued")
	}
	var last error
	for range maxAttempts {
		s.Attempts++
		if last = u.attempt(ctx, s, args); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.Taken() || !keyed {
			return nil // without a key, repeating the command could send the message twice
		}
		if err := sleep(ctx, retryPause); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: no id for %q after %d attempts: %w", u.name, s.Text, maxAttempts, last)
}

// attempt runs one command and keeps the ids that it printed, whatever its exit code: a printed id is a
// promise.
func (u *user) attempt(ctx context.Context, s *ledger.Send, args []string) error {
	if u.rng.Float64() < chanceImpatient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(u.rng.Int64N(int64(impatience))))
		defer cancel()
		u.h.counts.kill("command")
	}
	r, err := u.h.world.Run(ctx, u.name, s.Text, args...)
	for line := range strings.Lines(r.Stdout) {
		var one local.SendResult
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &one) != nil || one.ID == "" {
			continue
		}
		s.IDs = append(s.IDs, one.ID)
		u.h.rec.Told(ledger.State{User: u.name, Source: "send", ID: one.ID, State: one.State})
	}
	u.h.counts.exit(r.Code, err != nil)
	if err == nil {
		err = r.Err()
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
