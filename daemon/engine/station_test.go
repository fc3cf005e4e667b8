package engine

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// logBuffer is a log that goroutines write and the test reads.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stations returns the states in the lines about a message, in order.
func (l *logBuffer) stations(id string) []string {
	var out []string
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, " message="+id+" ") {
			continue
		}
		if m := regexp.MustCompile(` state=(\S+)`).FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

// TestWayOfAMessageIsLogged follows a message through the logs of both sides.
func TestWayOfAMessageIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		logs := map[*person]*logBuffer{}
		for _, x := range p {
			logs[x] = new(logBuffer)
			x.log = logs[x]
			x.restart()
			x.link.connect()
		}
		settleDown(5 * time.Second)
		const text = "a text that no log may have"
		id := alice.send("bob", text, waitFor(local.StateDelivered)).ID
		settleDown(time.Second)
		equal(t, "alice's log", logs[alice].stations(id), []string{"queued", "sealed", "sent", "answered", "accepted", "delivered"})
		bob.events(local.TypeMessage)
		equal(t, "bob's log", logs[bob].stations(id), []string{"opened", "shown"})
		for _, want := range []string{"peer=bob@x.example", "device=" + bob.device.String()} {
			if !strings.Contains(logs[alice].String(), want) {
				t.Errorf("alice's log does not name %s", want)
			}
		}
		r.rejects(func(_ string, o *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_QUOTA}, o.GetRecipient() == "bob"
		})
		alice.send("bob", "refused")
		settleDown(time.Second)
		if !strings.Contains(logs[alice].String(), "state=answered device="+bob.device.String()+" reason=quota") {
			t.Error("alice's log does not have the refusal")
		}
		for _, l := range logs {
			if strings.Contains(l.String(), text) {
				t.Errorf("a log has the text:\n%s", l)
			}
		}
	})
}

// outbox returns what the messages in the outbox wait for.
func (p *person) outbox() []string {
	p.t.Helper()
	r, err := p.engine.Outbox(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, m := range r.Results {
		if m.Waiting == nil {
			out = append(out, m.State)
			continue
		}
		out = append(out, m.State+": "+m.Waiting.Message)
	}
	return out
}

// TestOutboxTellsWhatItWaitsFor says the reason for each way of waiting.
func TestOutboxTellsWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		wants := func(what string, want ...string) {
			t.Helper()
			got := alice.outbox()
			if len(got) != len(want) {
				t.Errorf("%s: %q", what, got)
				return
			}
			for i := range want {
				if !regexp.MustCompile("^" + want[i] + "$").MatchString(got[i]) {
					t.Errorf("%s: %q, want %q", what, got[i], want[i])
				}
			}
		}
		r.rejects(func(_ string, o *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_QUOTA}, o.GetRecipient() == "bob"
		})
		alice.send("bob", "full")
		alice.send("bob", "after it")
		settleDown(time.Second)
		const full = `queued: the mailbox of bob@x.example is full; next try in \d+s`
		wants("a full mailbox", full, full)

		d := alice.debug()
		if len(d.Pairs) != 1 || d.Pairs[0].Peer != "bob" || d.Pairs[0].Device != bob.device.String() || d.Pairs[0].Blocked != "quota" ||
			d.Pairs[0].RetryIn <= 0 || d.Pairs[0].Waiting != 2 || !d.Up || !d.Loaded || len(d.Tasks) == 0 {
			t.Errorf("debug: %+v", d)
		}

		alice.link.disconnect()
		settleDown(time.Second)
		wants("away", "queued: .*", "queued: .*")
		if got := alice.outbox(); strings.Contains(got[0], "full") {
			t.Errorf("without a server: %q", got)
		}

		r.rejects(func(_ string, _ *wire.Outgoing) (link.Result, bool) {
			return link.Result{Reason: wire.Reason_REASON_RATE, RetryAfter: time.Minute}, true
		})
		alice.link.connect()
		settleDown(time.Second)
		const rate = `queued: the server limits how much this account sends; next try in \d+s`
		wants("a rate limit", rate, rate)
		if d := alice.debug(); d.Paused <= 0 {
			t.Errorf("debug: %+v", d)
		}
		r.rejects(nil)
		settleDown(10 * time.Minute)
		wants("all delivered")
	})
}

func (p *person) debug() local.DebugAccount {
	p.t.Helper()
	d, err := p.engine.Debug(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}
