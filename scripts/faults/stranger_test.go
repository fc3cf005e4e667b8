//go:build linux

package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

// strangersContents are first messages that no honest client writes: every number at and beyond its
// bounds, kinds that a stranger cannot use, and bytes that are not a content at all.
func strangersContents(t *testing.T) map[string][]byte {
	out := map[string][]byte{"nothing": {}, "not a message": []byte(strings.Repeat("\xff", 64))}
	add := func(name string, c *e2e.Content) {
		b, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	text := func(n uint64, ms int64) *e2e.Content {
		return &e2e.Content{Kind: e2e.Kind_KIND_TEXT, N: n, SentMs: ms, Body: &e2e.Content_Text{Text: &e2e.Text{Text: "from a stranger"}}}
	}
	for _, ms := range []int64{math.MinInt64, -1, 0, 1, e2e.MaxTime, e2e.MaxTime + 1, math.MaxInt64 / 1_000_000, math.MaxInt64} {
		add(fmt.Sprintf("text at %d", ms), text(1, ms))
		add(fmt.Sprintf("request at %d", ms), &e2e.Content{Kind: e2e.Kind_KIND_REQUEST, N: 1, SentMs: ms, Body: &e2e.Content_Request{Request: &e2e.Request{}}})
	}
	for _, n := range []uint64{0, e2e.MaxN, e2e.MaxN + 1, 1 << 62, 1 << 63, math.MaxUint64} {
		add(fmt.Sprintf("text number %d", n), text(n, 1))
	}
	file := func(name string, change func(f *e2e.File)) {
		f := &e2e.File{Blob: "b", Key: make([]byte, 32), Sha256: make([]byte, 32), Size: 1, Name: "a"}
		change(f)
		add("file, "+name, &e2e.Content{Kind: e2e.Kind_KIND_FILE, N: 1, SentMs: 1, Body: &e2e.Content_File{File: f}})
		f.Id = make([]byte, e2e.IDSize)
		add("text with file, "+name, &e2e.Content{Kind: e2e.Kind_KIND_TEXT, N: 1, SentMs: 1, Body: &e2e.Content_Text{Text: &e2e.Text{Files: []*e2e.File{f}}}})
	}
	file("sound", func(*e2e.File) {})
	file("size", func(f *e2e.File) { f.Size = math.MaxUint64 })
	file("past", func(f *e2e.File) { f.ExpiresMs = math.MinInt64 })
	file("future", func(f *e2e.File) { f.ExpiresMs = math.MaxInt64 })
	file("year 9999", func(f *e2e.File) { f.ExpiresMs = e2e.MaxTime })
	file("picture", func(f *e2e.File) {
		f.Thumbnail = &e2e.Thumbnail{Jpeg: []byte{1}, Width: math.MaxUint32, Height: math.MaxUint32}
	})
	ids := [][]byte{make([]byte, e2e.IDSize)}
	add("receipt", &e2e.Content{Kind: e2e.Kind_KIND_RECEIPT, Body: &e2e.Content_Receipt{Receipt: &e2e.Receipt{State: e2e.ReceiptState_RECEIPT_STATE_READ, MessageIds: ids}}})
	add("retry", &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: &e2e.Retry{MessageIds: ids}}})
	add("copy", &e2e.Content{Kind: e2e.Kind_KIND_SYNC, Body: &e2e.Content_Sync{Sync: &e2e.Sync{
		Peer: "bob@localhost", MessageId: ids[0], What: &e2e.Sync_Sent{Sent: &e2e.Text{Text: "forged"}},
	}}})
	add("kind", &e2e.Content{Kind: math.MaxInt32, N: math.MaxUint64, SentMs: math.MinInt64})
	add("negative kind", &e2e.Content{Kind: math.MinInt32})
	call := &e2e.Call{Id: ids[0], What: &e2e.Call_Offer{Offer: &e2e.CallOffer{
		Sdp: "v=0", Secret: make([]byte, e2e.CallSecretSize), Fingerprint: make([]byte, 32), Audio: true, RingMs: math.MaxUint32,
	}}}
	add("call", &e2e.Content{Kind: e2e.Kind_KIND_CALL, SentMs: math.MaxInt64, Body: &e2e.Content_Call{Call: call}})
	// A field that occurs twice, where the last one counts: an encoding that no library writes.
	twice := protowire.AppendVarint(protowire.AppendTag(out["text at 1"], 3, protowire.VarintType), math.MaxUint64)
	out["time twice"] = twice
	return out
}

// Strangers with arbitrary first messages cannot break any command of the recipient: neither before nor
// after they are blocked or removed, nor after a restart. Messages of honest people are shown.
func TestHostileFirstMessagesStopNoReader(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.send("bob", "alice", "before", "--wait", "delivered", "--timeout", patience)
	contents := strangersContents(t)
	strangers := r.hostiles(len(contents))
	bot, err := r.w.Consume("alice", "listen", "--consumer", "bot", "-o", "json")
	r.check(err)
	i := 0
	for name, plaintext := range contents {
		if err := strangers[i].SendFirst(t.Context(), "alice", plaintext); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		i++
	}
	r.send("bob", "alice", "after", "--wait", "delivered", "--timeout", patience)
	for line := range bot.Lines() {
		events, err := lab.DecodeEvents(line)
		r.check(err)
		if len(events) == 1 && events[0].Message != nil && events[0].Message.Text == "after" {
			break
		}
	}
	bot.Kill()
	// A message that obeys all rules is somebody's request.
	requests := r.run("alice", "", "contact", "list", "-o", "json")
	var shown []string
	for _, s := range strangers {
		if strings.Contains(requests.Stdout, `"`+s.Name+"@localhost") {
			shown = append(shown, s.Name)
		}
	}
	if len(shown) < 2 {
		t.Fatalf("contact list shows the strangers %v", shown)
	}
	r.readAll("as they came", shown)
	for _, s := range shown[:len(shown)/2] {
		r.check(r.run("alice", "", "block", s).Err())
	}
	r.readAll("blocked", shown)
	for _, s := range shown {
		r.check(r.run("alice", "", "contact", "remove", s).Err())
	}
	r.readAll("removed", nil)
	r.check(r.w.KillDaemon(t.Context(), "alice"))
	r.start("alice")
	r.readAll("restarted", nil)
	r.send("bob", "alice", "at last", "--wait", "delivered", "--timeout", patience)
	r.noPanic()
}

// readAll runs every command of alice that shows received messages, in both output formats.
func (r *rig) readAll(when string, peers []string) {
	r.t.Helper()
	commands := [][]string{
		{"inbox", "--peek"}, {"history", "bob", "-n", fmt.Sprint(everything)}, {"contact", "list"}, {"presence"}, {"status"}, {"file", "list"},
		{"call", "list"}, {"outbox", "list"}, {"consumer", "list"}, {"listen", "--since", "0", "--timeout", "1s"},
	}
	for _, p := range peers {
		commands = append(commands, []string{"history", p})
	}
	// The commands only read and have consumers of their own. Several run at a time, because each listen
	// waits for its timeout.
	var reads errgroup.Group
	reads.SetLimit(4)
	for _, form := range []string{"text", "json"} {
		consumer := []string{"listen", "--consumer", strings.ReplaceAll(when, " ", "-") + "-" + form, "--since", "0", "--timeout", "1s"}
		for _, args := range append(slices.Clone(commands), consumer) {
			reads.Go(func() error {
				res, err := r.w.Run(r.t.Context(), "alice", "", append(slices.Clone(args), "-o", form)...)
				if err == nil && res.Code != 0 {
					r.t.Errorf("%s: secmsg %s -o %s: exit %d\n%s", when, strings.Join(args, " "), form, res.Code, res.Stderr)
				}
				return err
			})
		}
	}
	r.check(reads.Wait())
	events, err := lab.DecodeEvents(r.run("alice", "", "listen", "--since", "0", "--type", "message", "--from", "bob", "--timeout", "1s", "-o", "json").Stdout)
	r.check(err)
	got := map[string]int{}
	for _, e := range events {
		if e.Message != nil && e.Direction == local.DirectionIn {
			got[e.Message.Text]++
		}
	}
	if got["before"] != 1 || got["after"] != 1 {
		r.t.Errorf("%s: bob's messages are shown %v", when, got)
	}
}
