package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/seal"
	"secmsg/daemon/codes"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func TestSendRefusesWhatBreaksARule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		for name, c := range map[string]struct {
			p    local.SendParams
			code local.Code
		}{
			"no peer":     {local.SendParams{Text: "x"}, local.CodeUsage},
			"empty":       {local.SendParams{Peers: []string{"bob"}}, local.CodeUsage},
			"not UTF-8":   {local.SendParams{Peers: []string{"bob"}, Text: "\xff"}, local.CodeUsage},
			"too long":    {local.SendParams{Peers: []string{"bob"}, Text: strings.Repeat("x", 64<<10+1)}, local.CodeUsage},
			"wait":        {local.SendParams{Peers: []string{"bob"}, Text: "x", Wait: "forever"}, local.CodeUsage},
			"reply":       {local.SendParams{Peers: []string{"bob"}, Text: "x", ReplyTo: "7"}, local.CodeUsage},
			"other realm": {local.SendParams{Peers: []string{"bob@y.example"}, Text: "x"}, local.CodeNotFound},
			"unverified":  {local.SendParams{Peers: []string{"bob"}, Text: "x", Require: "verified"}, local.CodeUntrusted},
			"one of two unverified": {local.SendParams{Peers: []string{"alice", "bob"}, Text: "x", Require: "verified"},
				local.CodeUntrusted},
		} {
			_, err := p[0].engine.Send(context.Background(), c.p)
			if err == nil || local.As(err).Code != c.code {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
		if out, err := p[0].engine.Outbox(t.Context()); err != nil || len(out.Results) != 0 {
			t.Errorf("queued: %+v %v", out, err)
		}
		if h := p[0].history("bob"); len(h) != 0 {
			t.Errorf("history: %+v", h)
		}
	})
}

func TestSendToNobodyAndToSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		defer stopAll(p...)
		res, err := p[0].engine.Send(t.Context(), local.SendParams{Peers: []string{"bob", "nobody", "carol", "bob"}, Text: "all"})
		if err != nil || len(res.Results) != 3 {
			t.Fatalf("%+v %v", res, err)
		}
		for i, want := range []string{local.StateAccepted, local.StateFailed, local.StateAccepted} {
			if s := res.Results[i].State; s != want && !(want == local.StateAccepted && s == local.StateDelivered) {
				t.Errorf("%s is %s, want %s", res.Results[i].Peer, s, want)
			}
		}
		if e := res.Results[1].Error; e == nil || e.Code != local.CodeNotFound {
			t.Errorf("nobody: %v", e)
		}
		if res.Results[0].ID == res.Results[2].ID {
			t.Error("two recipients have one id")
		}
	})
}

func TestDefaultWaitEndsAfterFiveSecondsWithoutAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		p[0].link.disconnect()
		start := time.Now()
		r := p[0].send("bob", "later", waitFor(""))
		if d := time.Since(start); d != 5*time.Second || r.State != local.StateQueued || r.Error != nil {
			t.Errorf("after %s: %+v", d, r)
		}
		r = p[0].send("bob", "later still", func(p *local.SendParams) { p.Wait, p.Timeout = waitServer, 2 })
		if r.Error == nil || r.Error.Code != local.CodeTimeout || r.State != local.StateQueued {
			t.Errorf("%+v", r)
		}
		p[0].link.connect()
		settleDown(2 * time.Second)
		equal(t, "bob got", p[1].texts("alice", local.DirectionIn), []string{"later", "later still"})
	})
}

func TestIdempotencyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		key := func(p *local.SendParams) { p.IdempotencyKey, p.Wait = "k", waitDelivered }
		first := alice.send("bob", "once", key)
		alice.restart()
		alice.link.connect()
		second := alice.send("bob", "once", key)
		if first.ID != second.ID || second.State != local.StateDelivered {
			t.Errorf("%+v, then %+v", first, second)
		}
		_, err := alice.engine.Send(t.Context(), local.SendParams{Peers: []string{"bob"}, Text: "twice", IdempotencyKey: "k"})
		if err == nil || local.As(err).Code != local.CodeUsage {
			t.Errorf("other content: %v", err)
		}
		settleDown(time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"once"})
	})
}

func TestNoteToOneself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice")
		defer stopAll(p...)
		before := len(r.seen)
		res := p[0].send("alice", "buy milk", waitFor(""))
		if res.State != local.StateDelivered {
			t.Errorf("%+v", res)
		}
		settleDown(time.Minute)
		equal(t, "notes", p[0].texts("alice", local.DirectionOut), []string{"buy milk"})
		if len(r.seen) != before {
			t.Error("a note went to the server")
		}
	})
}

func TestMessageExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		alice.link.disconnect()
		short := alice.send("bob", "short", func(p *local.SendParams) { p.Expires = 60 })
		long := alice.send("bob", "long")
		settleDown(61 * time.Second)
		alice.wantState("bob", short.ID, local.StateExpired)
		alice.wantState("bob", long.ID, local.StateQueued)
		settleDown(30 * 24 * time.Hour)
		alice.wantState("bob", long.ID, local.StateExpired)
		alice.link.connect()
		settleDown(time.Minute)
		equal(t, "bob got", p[1].texts("alice", local.DirectionIn), nil)
	})
}

func TestLockedProfileQueuesAndSendsAtUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		alice := &person{t: t, relay: r, name: "alice", addr: identity.Address{User: "alice", Domain: "x.example"}, dir: profileDir(t)}
		alice.openLocked("secret")
		alice.register()
		alice.run()
		bob := join(t, r, "bob")
		defer stopAll(alice, bob)
		alice.link.connect()
		bob.link.connect()
		settleDown(time.Second)
		bob.add("alice")
		settleDown(time.Second)

		alice.link.disconnect()
		if err := alice.keys.Lock(); err != nil {
			t.Fatal(err)
		}
		got := alice.send("bob", "from the dark")
		if got.State != local.StateQueued || got.ID == "" {
			t.Fatalf("%+v", got)
		}
		if _, err := alice.engine.History(t.Context(), local.HistoryParams{Peer: "bob"}); local.As(codes.Local(err)).Code != local.CodeLocked {
			t.Errorf("history of a locked profile: %v", err)
		}
		alice.send("bob", "too late", func(p *local.SendParams) { p.Expires = 60 })
		two, err := alice.engine.Send(t.Context(), local.SendParams{Peers: []string{"No Name", "bob"}, Text: "to two", Wait: waitQueued})
		if err != nil || len(two.Results) != 2 {
			t.Fatalf("%+v, %v", two, err)
		}
		settleDown(2 * time.Minute)
		if err := alice.keys.Unlock([]byte("secret")); err != nil {
			t.Fatal(err)
		}
		alice.engine.Wake()
		alice.link.connect()
		settleDown(5 * time.Second)
		alice.wantState("bob", got.ID, local.StateDelivered)
		alice.wantState("bob", two.Results[1].ID, local.StateDelivered)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"from the dark", "to two"})
		if told := alice.events(local.TypeSystem); len(told) != 2 || !strings.Contains(told[1].System.Text, two.Results[0].ID) {
			t.Errorf("told: %+v", told)
		}
		_ = alice.st.View(t.Context(), func(tx *store.Tx) error {
			if l, err := tx.LockedSends(alice.account, 10); err != nil || len(l) != 0 {
				t.Errorf("left in the queue: %d, %v", len(l), err)
			}
			return nil
		})
	})
}

// openLocked makes a profile under a passphrase, at the least cost.
func (p *person) openLocked(passphrase string) {
	p.open()
	keys, err := keyring.Open(p.st, p.dir, keyring.Options{Argon2: seal.Argon2Params{Time: 1, Memory: 64, Threads: 1}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.keys = keys
	if err := p.keys.Create([]byte(passphrase)); err != nil {
		p.t.Fatal(err)
	}
}

func TestCheckMeasuresTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice")
		defer stopAll(p...)
		if c := p[0].engine.Check(t.Context()); !c.OK || c.Error != nil {
			t.Errorf("%+v", c)
		}
		synctest.Wait() // the reader that brought the first probe has ended
		r.mu.Lock()
		delete(r.links, p[0].device) // the way back is cut
		r.mu.Unlock()
		if c := p[0].engine.Check(t.Context()); c.OK || c.Error.Code != local.CodeUnreachable {
			t.Errorf("%+v", c)
		}
		p[0].link.disconnect()
		if c := p[0].engine.Check(t.Context()); c.OK || c.Error.Code != local.CodeUnreachable {
			t.Errorf("%+v", c)
		}
		if h := p[0].events(local.TypeMessage); len(h) != 0 {
			t.Errorf("a probe was shown: %+v", h)
		}
	})
}

func TestRetryOfAnExpiredMessageKeepsItsDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		alice.send("bob", "first")
		settleDown(time.Minute)
		err := alice.engine.store.Update(context.Background(), func(tx *store.Tx) error {
			_, _, err := alice.engine.trust.Verify(tx, alice.engine.account, p[1].engine.self, "", true)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.link.disconnect()
		strict := alice.send("bob", "strict", func(p *local.SendParams) { p.Expires, p.Require = 60, requireVerified })
		plain := alice.send("bob", "plain", func(p *local.SendParams) { p.Expires = 60 })
		settleDown(61 * time.Second)
		for _, tc := range []struct {
			id, want string
		}{{strict.ID, requireVerified}, {plain.ID, ""}} {
			var m *store.Message
			err := alice.engine.store.View(context.Background(), func(tx *store.Tx) (err error) {
				m, err = alice.engine.history.OwnMessage(tx, tc.id)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			again, err := alice.engine.repeat(context.Background(), m, "bob")
			if err != nil || again.Require != tc.want {
				t.Errorf("repeat requires %q, want %q (%v)", again.Require, tc.want, err)
			}
		}
		// The new message is one of its own; the old one stays expired.
		alice.link.connect()
		sent, err := alice.engine.RetryOutbox(context.Background(), strict.ID)
		if err != nil || sent.ID == strict.ID {
			t.Fatalf("retry gave %v, %v", sent, err)
		}
		settleDown(time.Minute)
		alice.wantState("bob", strict.ID, local.StateExpired)
		alice.wantState("bob", sent.ID, local.StateDelivered)
		// Asked again, also after a restart, it tells of the new one.
		for range 2 {
			again, err := alice.engine.RetryOutbox(context.Background(), strict.ID)
			if err != nil || again.ID != sent.ID || again.State != local.StateDelivered {
				t.Errorf("retry again gave %v, %v", again, err)
			}
			alice.restart()
			alice.link.connect()
			settleDown(time.Minute)
		}
		// One for another message is another.
		other, err := alice.engine.RetryOutbox(context.Background(), plain.ID)
		if err != nil || other.ID == sent.ID || other.ID == plain.ID {
			t.Errorf("retry of another gave %v, %v", other, err)
		}
		settleDown(time.Minute)
		equal(t, "bob got", p[1].texts("alice", local.DirectionIn), []string{"first", "strict", "plain"})
	})
}
