package engine

import (
	"encoding/json"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// envelope seals a plaintext for another's device as no honest engine would, in
// a session that it starts if there is none.
func (p *person) envelope(to *person, class wire.Class, plain []byte) *wire.Envelope {
	p.t.Helper()
	id, err := history.NewID()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.envelopeOf(to, class, id, plain)
}

func (p *person) envelopeOf(to *person, class wire.Class, id store.MessageID, plain []byte) *wire.Envelope {
	p.t.Helper()
	ctx := p.t.Context()
	var peer store.PeerID
	var has bool
	err := p.st.Update(ctx, func(tx *store.Tx) (err error) {
		if peer, err = tx.Peer(p.account, to.addr.String()); err != nil {
			return err
		}
		has, err = p.keys.HasSession(tx, p.account, peer, to.device)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if !has {
		var now *term
		if err := p.engine.do(ctx, func() error { now = p.engine.term; return nil }); err != nil {
			p.t.Fatal(err)
		}
		for _, n := range []need{{peer: peer, user: to.name, lookUp: true}, {peer: peer, user: to.name, bundles: []key.DeviceID{to.device}}} {
			if err := p.engine.askNow(ctx, now, n); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	t := keyring.Target{Account: p.account, Peer: peer, Address: to.addr}
	t.Device.ID = to.device
	env := &wire.Envelope{MessageId: id[:], Class: class, Sender: p.name, SenderDevice: p.device[:]}
	err = p.engine.do(ctx, func() error {
		return p.engine.update(func(tx *store.Tx) (err error) {
			env.Ciphertext, err = p.keys.Seal(tx, t, ratchet.Class(class), id, plain, p.engine.profileTime())
			return err
		})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return env
}

// deliver gives an envelope to a person as the relay would.
func (p *person) deliver(envelopes ...*wire.Envelope) {
	p.t.Helper()
	if _, err := p.engine.Deliver(p.t.Context(), envelopes); err != nil {
		p.t.Fatal(err)
	}
}

// plain encodes a content without the checks of an honest sender.
func plain(t *testing.T, c *e2e.Content) []byte {
	t.Helper()
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func textOf(n uint64, sent int64, s string) *e2e.Content {
	return &e2e.Content{Kind: e2e.Kind_KIND_TEXT, N: n, SentMs: sent, Body: &e2e.Content_Text{Text: &e2e.Text{Text: s}}}
}

// hostileContents are contents whose numbers no honest sender writes.
func hostileContents() map[string]*e2e.Content {
	out := map[string]*e2e.Content{}
	for name, ms := range map[string]int64{
		"year 10000": e2e.MaxTime + 1, "last int64": math.MaxInt64, "first int64": math.MinInt64, "max uint64": -1,
	} {
		out["text, "+name] = textOf(1, ms, "hi")
		out["request, "+name] = &e2e.Content{Kind: e2e.Kind_KIND_REQUEST, N: 1, SentMs: ms, Body: &e2e.Content_Request{Request: &e2e.Request{}}}
	}
	for name, n := range map[string]uint64{"2^53": 1 << 53, "2^63": 1 << 63, "max": math.MaxUint64} {
		out["counter "+name] = textOf(n, 1, "hi")
	}
	file := func(change func(f *e2e.File)) *e2e.Content {
		f := &e2e.File{Blob: "b", Key: make([]byte, 32), Sha256: make([]byte, 32), Size: 1, Name: "a"}
		change(f)
		return &e2e.Content{Kind: e2e.Kind_KIND_FILE, N: 1, SentMs: 1, Body: &e2e.Content_File{File: f}}
	}
	out["file, size"] = file(func(f *e2e.File) { f.Size = math.MaxUint64 })
	out["file, expiry"] = file(func(f *e2e.File) { f.ExpiresMs = math.MaxInt64 })
	out["file, sides"] = file(func(f *e2e.File) {
		f.Thumbnail = &e2e.Thumbnail{Jpeg: []byte{1}, Width: math.MaxUint32, Height: math.MaxUint32}
	})
	return out
}

// A stranger's first message, whatever its numbers, keeps nobody from reading:
// the journal, the inbox and history go on, also after a restart.
func TestHostileNumbersStopNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		everybody := people
		defer func() { stopAll(everybody...) }()
		alice.send("bob", "before", waitFor(waitDelivered))
		var refused int64
		for name, c := range hostileContents() {
			m := join(t, r, "mallory"+string(rune('a'+len(everybody))))
			m.link.connect()
			settleDown(time.Second)
			everybody = append(everybody, m)
			bob.deliver(m.envelope(bob, wire.Class_CLASS_DURABLE, plain(t, c)))
			refused++
			counts, err := bob.engine.Counts(t.Context())
			if err != nil || counts[countMalformed] != refused || counts[countCrashed] != 0 {
				t.Errorf("%s: %v %v", name, counts, err)
			}
		}
		// What keeps the rules at their edges is shown.
		for i, ms := range []int64{0, 1, e2e.MaxTime} {
			m := join(t, r, "edge"+string(rune('a'+i)))
			m.link.connect()
			settleDown(time.Second)
			everybody = append(everybody, m)
			bob.deliver(m.envelope(bob, wire.Class_CLASS_DURABLE, plain(t, textOf(e2e.MaxN, ms, "edge"))))
		}
		alice.send("bob", "after", waitFor(waitDelivered))
		for range 2 {
			inbox, err := bob.engine.Inbox(t.Context(), local.InboxParams{Peek: true})
			if err != nil || len(inbox.Events) != 5 {
				t.Errorf("inbox: %d events, %v", len(inbox.Events), err)
			}
			equal(t, "history", bob.texts("alice", local.DirectionIn), []string{"before", "after"})
			if got := len(bob.events(local.TypeMessage)); got != 5 {
				t.Errorf("the journal shows %d messages", got)
			}
			bob.restart()
			bob.link.connect()
			settleDown(time.Second)
		}
	})
}

// Rows that are on the disk already, of an older version or a damaged disk, are
// passed over one by one.
func TestUnreadableRowsArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		var ids []string
		for _, text := range numbered("m", 4) {
			ids = append(ids, alice.send("bob", text, waitFor(waitDelivered)).ID)
		}
		settleDown(time.Minute)
		bad, _ := history.ParseID(ids[1])
		worse, _ := history.ParseID(ids[2])
		err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
			if err := tx.SetMessageBody(bob.account, bad, []byte{0xff, 0xff, 0xff}); err != nil {
				return err
			}
			_, err := bob.journal.Append(tx, bob.account, local.Event{ID: "odd", Type: local.TypeMessage})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		bob.spoilRows(`UPDATE messages SET sent_ms = 253402300800000 WHERE id = ?`, worse[:])
		bob.spoilRows(`UPDATE events SET body = zeroblob(9) WHERE id = ?`, ids[3])
		list := bob.history("alice")
		if len(list) != 4 || list[1].System == nil || list[2].Message == nil {
			t.Errorf("history: %+v", list)
		}
		var read local.Events
		b, err := json.Marshal(local.Events{Events: list})
		if err == nil {
			err = json.Unmarshal(b, &read)
		}
		if err != nil || len(read.Events) != 4 || read.Events[2].Message == nil || !read.Events[2].Time.IsZero() {
			t.Errorf("what a client reads of it: %+v %v", read, err)
		}
		inbox, err := bob.engine.Inbox(t.Context(), local.InboxParams{})
		if err != nil || len(inbox.Events) != 4 {
			t.Errorf("inbox: %+v %v", inbox, err)
		}
		_, s, err := bob.journal.Subscribe(t.Context(), journal.Filter{}, local.SubscribeParams{Consumer: "bot", Since: "0", Types: []string{local.TypeMessage}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 5 {
			if e := <-s.Events(); (e.System != nil) != (i == 3) {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		counts, err := bob.engine.Counts(t.Context())
		if err != nil || counts[countUnreadable] < 3 {
			t.Errorf("counts %v %v", counts, err)
		}
	})
}

// A queued draft that makes no content ends alone: what is behind it goes.
func TestDraftThatCannotBeSealedEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.link.disconnect()
		bad := alice.send("bob", "bad")
		alice.send("bob", "good")
		id, _ := history.ParseID(bad.ID)
		err := alice.engine.do(t.Context(), func() error {
			return alice.engine.update(func(tx *store.Tx) error {
				o, err := tx.Outgoing(alice.account, id)
				if err != nil {
					return err
				}
				if err := tx.DeleteOutgoing(alice.account, id); err != nil {
					return err
				}
				o.Body = protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(e2e.Kind_KIND_TEXT))
				return tx.InsertOutgoing(o)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.link.connect()
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"good"})
		alice.wantState("bob", bad.ID, local.StateFailed)
	})
}
