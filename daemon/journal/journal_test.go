package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/daemon/codes"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

func TestMain(m *testing.M) {
	store.GroupsTwice()
	goleak.VerifyTestMain(m)
}

// plainBox leaves values unencrypted; encryption is tested in store and keyring.
type plainBox struct{}

func (plainBox) Seal(_, _, _ string, p []byte) ([]byte, error) { return p, nil }
func (plainBox) Open(_, _, _ string, s []byte) ([]byte, error) { return s, nil }
func (plainBox) Tag(_ string, b []byte) []byte                 { return b }

type rig struct {
	t    *testing.T
	path string
	st   *store.Store
	j    *Journal
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "secmsg.db")}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	st, err := store.Open(context.Background(), r.path, store.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	st.SetBox(plainBox{})
	r.st, r.j = st, New(st, Options{Events: 500})
}

func (r *rig) close() {
	r.j.Close()
	if err := r.st.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) append(events ...local.Event) {
	r.t.Helper()
	err := r.st.Update(context.Background(), func(tx *store.Tx) error {
		for _, e := range events {
			if _, err := r.j.Append(tx, 1, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func text(id string) local.Event {
	return local.Event{ID: id, Type: local.TypeMessage, Peer: "bob@x.example", Direction: local.DirectionIn, Message: &local.Message{Text: id}}
}

func (r *rig) subscribe(p local.SubscribeParams) *Subscription {
	r.t.Helper()
	_, s, err := r.j.Subscribe(context.Background(), Filter{}, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// take reads n events or fails.
func take(t *testing.T, s *Subscription, n int) []local.Event {
	t.Helper()
	timeout := time.After(10 * time.Second)
	var out []local.Event
	for len(out) < n {
		select {
		case e, ok := <-s.Events():
			if !ok {
				t.Fatalf("ended after %d events: %v", len(out), s.Err())
			}
			out = append(out, e)
		case <-timeout:
			t.Fatalf("%d of %d events", len(out), n)
		}
	}
	return out
}

func TestSubscribersSeeEveryEventInOrderUnderLoad(t *testing.T) {
	r := newRig(t)
	const writers, each, readers = 4, 50, 5
	var subs []*Subscription
	for range readers {
		subs = append(subs, r.subscribe(local.SubscribeParams{}))
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r.append(text(fmt.Sprintf("%d-%d", w, i)))
			}
		})
	}
	for _, s := range subs {
		wg.Go(func() {
			last := int64(0)
			seen := map[string]bool{}
			for range writers * each {
				e, ok := <-s.Events()
				if !ok {
					t.Errorf("ended: %v", s.Err())
					return
				}
				if e.Seq <= last || seen[e.ID] {
					t.Errorf("seq %d after %d, id %s", e.Seq, last, e.ID)
				}
				last, seen[e.ID] = e.Seq, true
			}
		})
	}
	wg.Wait()
	for _, s := range subs {
		s.Close()
	}
}

func TestSlowSubscriberDelaysNobody(t *testing.T) {
	r := newRig(t)
	slow := r.subscribe(local.SubscribeParams{})
	fast := r.subscribe(local.SubscribeParams{})
	defer slow.Close()
	defer fast.Close()
	for i := range 200 {
		r.append(text(strconv.Itoa(i)))
	}
	take(t, fast, 200)
	take(t, slow, 200)
}

func TestConsumerContinuesAfterRestart(t *testing.T) {
	r := newRig(t)
	r.append(text("before"))
	s := r.subscribe(local.SubscribeParams{Consumer: "bot"})
	r.append(text("a"), text("b"), text("c"))
	got := take(t, s, 3)
	if got[0].ID != "a" {
		t.Fatalf("a new consumer starts from now on, got %s", got[0].ID)
	}
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: "b"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	r.close()
	r.open()
	s = r.subscribe(local.SubscribeParams{Consumer: "bot"})
	if e := take(t, s, 1)[0]; e.ID != "c" {
		t.Errorf("continued at %s", e.ID)
	}
	// A cursor never moves back.
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: "1"}); err != nil {
		t.Fatal(err)
	}
	list, err := r.j.Consumers(t.Context())
	if err != nil || len(list.Consumers) != 1 {
		t.Fatal(list, err)
	}
	if c := list.Consumers[0]; c.Cursor != got[1].Seq || !c.Attached || c.Lag != 1 {
		t.Errorf("%+v", c)
	}
	s.Close()
	_, _, err = r.j.Subscribe(t.Context(), Filter{}, local.SubscribeParams{Consumer: "bot", Since: "0"})
	if e := local.As(err); e.Code != local.CodeUsage {
		t.Errorf("--since with a consumer that exists: %v", err)
	}
}

func TestWindowHoldsBackUntilAcknowledged(t *testing.T) {
	r := newRig(t)
	s := r.subscribe(local.SubscribeParams{Consumer: "bot", Window: 2, Since: "0"})
	defer s.Close()
	r.append(text("a"), text("b"), text("c"))
	got := take(t, s, 2)
	select {
	case e := <-s.Events():
		t.Fatalf("pushed %s beyond the window", e.ID)
	case <-time.After(50 * time.Millisecond):
	}
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: strconv.FormatInt(got[0].Seq, 10)}); err != nil {
		t.Fatal(err)
	}
	if e := take(t, s, 1)[0]; e.ID != "c" {
		t.Error(e.ID)
	}
	r.append(text("d"))
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: "c"}); err != nil {
		t.Fatal(err)
	}
	if e := take(t, s, 1)[0]; e.ID != "d" {
		t.Error(e.ID)
	}
}

func TestCursorPassesOverWhatDoesNotMatch(t *testing.T) {
	r := newRig(t)
	r.append(local.Event{Type: local.TypePresence}, local.Event{Type: local.TypeSystem})
	s := r.subscribe(local.SubscribeParams{Consumer: "bot", Since: "0"})
	r.append(text("a"))
	take(t, s, 1)
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: "a"}); err != nil {
		t.Fatal(err)
	}
	r.append(local.Event{Type: local.TypePresence})
	r.append(text("b"))
	take(t, s, 1)
	if err := r.j.Ack(t.Context(), local.AckParams{Consumer: "bot", ID: "b"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = r.subscribe(local.SubscribeParams{Consumer: "bot", Types: []string{local.TypePresence, local.TypeSystem}})
	r.append(local.Event{ID: "new", Type: local.TypePresence})
	if e := take(t, s, 1)[0]; e.ID != "new" {
		t.Errorf("shown %s, which an earlier call passed over", e.ID)
	}
	s.Close()
}

func TestNewerSubscriptionOfAConsumerEndsTheOlder(t *testing.T) {
	r := newRig(t)
	old := r.subscribe(local.SubscribeParams{Consumer: "bot"})
	newer := r.subscribe(local.SubscribeParams{Consumer: "bot"})
	if _, ok := <-old.Events(); ok || local.As(old.Err()).Code != local.CodeUsage {
		t.Errorf("old subscription: %v", old.Err())
	}
	old.Close()
	r.append(text("a"))
	take(t, newer, 1)
	if err := r.j.RemoveConsumer(t.Context(), "bot"); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-newer.Events(); ok || local.As(newer.Err()).Code != local.CodeNotFound {
		t.Errorf("removed consumer: %v", newer.Err())
	}
	newer.Close()
}

func TestFilters(t *testing.T) {
	r := newRig(t)
	out := text("mine")
	out.Direction = local.DirectionOut
	other := text("carol")
	other.Peer = "carol@x.example"
	r.append(out, text("bob"), other, local.Event{Type: local.TypeReceipt, ID: "receipt"})
	var bob store.PeerID
	if err := r.st.View(t.Context(), func(tx *store.Tx) (err error) { bob, err = tx.FindPeer(1, "bob@x.example"); return err }); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    Filter
		p    local.SubscribeParams
		want []string
	}{
		{Filter{}, local.SubscribeParams{Since: "0"}, []string{"bob", "carol"}},
		{Filter{}, local.SubscribeParams{Since: "0", Outgoing: true}, []string{"mine", "bob", "carol"}},
		{Filter{Peers: []store.PeerID{bob}}, local.SubscribeParams{Since: "0"}, []string{"bob"}},
		{Filter{Accounts: []store.AccountID{2}}, local.SubscribeParams{Since: "0"}, nil},
		{Filter{}, local.SubscribeParams{Since: "0", Types: []string{local.TypeReceipt}}, []string{"receipt"}},
		{Filter{}, local.SubscribeParams{Since: "bob"}, []string{"carol"}},
	} {
		_, s, err := r.j.Subscribe(t.Context(), c.f, c.p)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range take(t, s, len(c.want)) {
			if e.ID != c.want[i] {
				t.Errorf("%+v: %s, want %s", c, e.ID, c.want[i])
			}
		}
		s.Close()
		if len(c.want) == 0 {
			if _, ok := <-s.Events(); ok {
				t.Errorf("%+v: an event too many", c)
			}
		}
	}
	if _, _, err := r.j.Subscribe(t.Context(), Filter{}, local.SubscribeParams{Types: []string{"mesage"}}); local.As(err).Code != local.CodeUsage {
		t.Errorf("unknown type: %v", err)
	}
}

func TestSweepKeepsTheNewestAndNeverReusesASeq(t *testing.T) {
	r := newRig(t)
	for range 6 {
		var batch []local.Event
		for range 100 {
			batch = append(batch, local.Event{Type: local.TypeSystem})
		}
		r.append(batch...)
	}
	if err := r.st.Update(t.Context(), func(tx *store.Tx) error { return r.j.Sweep(tx) }); err != nil {
		t.Fatal(err)
	}
	s := r.subscribe(local.SubscribeParams{Since: "0", Types: []string{local.TypeSystem}})
	got := take(t, s, 500)
	s.Close()
	if got[0].Seq != 101 || got[499].Seq != 600 {
		t.Errorf("kept %d to %d", got[0].Seq, got[499].Seq)
	}
	if err := r.st.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.DeleteEvents(0, 0); err != nil {
			return err
		}
		seq, err := r.j.Append(tx, 1, local.Event{Type: local.TypeSystem})
		if seq != 601 {
			t.Errorf("seq %d was used again", seq)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLockedJournalSaysSo(t *testing.T) {
	r := newRig(t)
	r.append(text("a"))
	r.st.SetBox(nil)
	s := r.subscribe(local.SubscribeParams{Since: "0"})
	if _, ok := <-s.Events(); ok || local.As(codes.Local(s.Err())).Code != local.CodeLocked {
		t.Errorf("%v", s.Err())
	}
	s.Close()
	err := r.st.Update(t.Context(), func(tx *store.Tx) error { _, err := r.j.Append(tx, 1, text("b")); return err })
	if !errors.Is(err, store.ErrLocked) {
		t.Error(err)
	}
	r.st.SetBox(plainBox{})
}

// A filter names an unknown address: nothing is written for it, events of others are
// excluded, and its own events appear from the first message on.
func TestFilterOfSomebodyUnknown(t *testing.T) {
	r := newRig(t)
	const carol = "carol@x.example"
	_, s, err := r.j.Subscribe(t.Context(), Filter{Unmet: []Unmet{{Account: 1, Address: carol}}}, local.SubscribeParams{Since: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.append(text("of bob"))
	hers := text("of carol")
	err = r.st.View(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.FindPeer(1, carol); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a row was made: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	hers.Peer = carol
	r.append(hers, text("of bob again"))
	if e := <-s.Events(); e.ID != "of carol" {
		t.Errorf("got %q", e.ID)
	}
	select {
	case e := <-s.Events():
		t.Errorf("got %q, too", e.ID)
	case <-time.After(50 * time.Millisecond):
	}
}
