package history

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
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

// rig is the history of alice, who has a contact bob.
type rig struct {
	t       *testing.T
	st      *store.Store
	h       *History
	account store.AccountID
	bob     store.PeerID
	now     time.Time

	changes  []Change
	files    int // calls of FilesChanged
	receipts int // calls of ReceiptOwed
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Unix(1_800_000_000, 0)}
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "secmsg.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st.SetBox(plainBox{})
	j := journal.New(st, journal.Options{})
	t.Cleanup(func() {
		j.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r.st = st
	tr := trust.New(trust.Options{})
	r.update(func(tx *store.Tx) (err error) {
		if r.account, err = tx.NewAccount(store.Account{Address: "alice@x.example", Device: [16]byte{1}}); err != nil {
			return err
		}
		if r.bob, err = tx.Peer(r.account, "bob@x.example"); err != nil {
			return err
		}
		_, err = tr.MakeContact(tx, r.account, r.bob)
		return err
	})
	r.h = New(Options{
		Account: r.account, Self: "alice@x.example", Trust: tr, Journal: j, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return r.now }, ProfileTime: func() time.Time { return r.now },
		DeviceText: func(id [16]byte) string { return hex.EncodeToString(id[:]) },
		Hooks: Hooks{
			StateChanged: func(_ store.MessageID, c Change) { r.changes = append(r.changes, c) },
			FilesChanged: func() { r.files++ }, FileExpires: func(time.Duration) {}, ReceiptOwed: func() { r.receipts++ },
		},
	})
	return r
}

func (r *rig) update(fn func(tx *store.Tx) error) {
	r.t.Helper()
	if err := r.st.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

func newID(t *testing.T) store.MessageID {
	t.Helper()
	id, err := NewID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sent adds an own text to bob that is queued.
func (r *rig) sent() store.MessageID {
	r.t.Helper()
	id := newID(r.t)
	c := &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: &e2e.Text{Text: "hi"}}}
	r.update(func(tx *store.Tx) error { return r.h.AddOwn(tx, id, r.bob, c, local.StateQueued, [16]byte{1}, r.now) })
	return id
}

// received adds a text of bob with a number of files.
func (r *rig) received(files int) *store.Message {
	r.t.Helper()
	text := &e2e.Text{Text: "look"}
	for n := range files {
		id := newID(r.t)
		text.Files = append(text.Files, &e2e.File{Id: id[:], Name: "../f", Size: uint64(n), Blob: "b", Key: make([]byte, 32)})
	}
	c := &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: text}}
	body, err := BodyOf(c)
	if err != nil {
		r.t.Fatal(err)
	}
	m := &store.Message{
		Account: r.account, ID: newID(r.t), Peer: r.bob, Direction: store.In, Kind: int32(c.GetKind()), Device: make([]byte, 16),
		SentMS: r.now.UnixMilli(), ReceivedMS: r.now.UnixMilli(), KeptMS: r.now.UnixMilli(), Unread: true, Body: body,
	}
	r.update(func(tx *store.Tx) error { return r.h.AddReceived(tx, m, ReferencesOf(c), true) })
	return m
}

func (r *rig) messages() []local.Event {
	r.t.Helper()
	var out []local.Event
	r.update(func(tx *store.Tx) (err error) {
		out, err = r.h.Messages(tx, "bob@x.example", 100, 0, 0)
		return err
	})
	return out
}

// owed returns the ids whose receipts of a state are due to bob.
func (r *rig) owed(state e2e.ReceiptState) []store.MessageID {
	r.t.Helper()
	var out []store.MessageID
	r.update(func(tx *store.Tx) (err error) {
		out, err = tx.Owed(r.account, r.bob, int32(state), 10)
		return err
	})
	return out
}

// TestStatesNeverGoBack tries every step between two states.
func TestStatesNeverGoBack(t *testing.T) {
	rank := map[string]int{
		local.StateQueued: 0, local.StateHeld: 0, local.StateAccepted: 1, local.StateFailed: 2, local.StateExpired: 2,
		local.StateDelivered: 3, local.StateRead: 4,
	}
	for from, low := range rank {
		for to, high := range rank {
			want := high > low || high == 0 && low == 0 && from != to
			if got := advances(from, to); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
	r := newRig(t)
	id := r.sent()
	for _, state := range []string{local.StateAccepted, local.StateQueued, local.StateDelivered, local.StateFailed, local.StateRead, local.StateDelivered} {
		r.update(func(tx *store.Tx) error { return r.h.SetState(tx, id, state, "") })
	}
	if list := r.messages(); len(list) != 1 || list[0].Message.State != local.StateRead {
		t.Errorf("in the end: %+v", list)
	}
	if len(r.changes) != 3 {
		t.Errorf("%d changes are reported, want accepted, delivered, read: %v", len(r.changes), r.changes)
	}
}

// TestHooksFollowTheCommit undoes a transaction: nobody may hear of it.
func TestHooksFollowTheCommit(t *testing.T) {
	r := newRig(t)
	id, m := r.sent(), r.received(1)
	r.files, r.receipts = 0, 0
	undo := errors.New("undo")
	err := r.st.Update(t.Context(), func(tx *store.Tx) error {
		if err := r.h.SetState(tx, id, local.StateAccepted, ""); err != nil {
			return err
		}
		if err := r.h.Owe(tx, r.bob, m.ID, e2e.ReceiptState_RECEIPT_STATE_DELIVERED); err != nil {
			return err
		}
		if err := r.h.DeleteBlob(tx, 0, "blob"); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) || len(r.changes) != 0 || r.files != 0 || r.receipts != 0 {
		t.Errorf("%v: %d changes, %d calls for files, %d for receipts", err, len(r.changes), r.files, r.receipts)
	}
}

// TestDamagedMessageHidesNoOther stores a body that is no message.
func TestDamagedMessageHidesNoOther(t *testing.T) {
	r := newRig(t)
	r.sent()
	bad := r.received(0)
	r.sent()
	r.update(func(tx *store.Tx) error { return tx.SetMessageBody(r.account, bad.ID, []byte{0xff}) })
	list := r.messages()
	if len(list) != 3 {
		t.Fatalf("%d messages, want 3", len(list))
	}
	damaged := 0
	for _, ev := range list {
		if ev.ID == IDText(bad.ID) {
			damaged++
			if ev.Type != local.TypeSystem || ev.System == nil || ev.Message != nil {
				t.Errorf("in its place: %+v", ev)
			}
		}
	}
	if damaged != 1 || r.h.Unreadable() != 1 {
		t.Errorf("%d damaged, %d counted", damaged, r.h.Unreadable())
	}
}

// TestTakenIDGetsAnAlias receives a message under the id of another one.
func TestTakenIDGetsAnAlias(t *testing.T) {
	r := newRig(t)
	id := r.sent()
	r.update(func(tx *store.Tx) error {
		same, err := r.h.FreeID(tx, id, r.bob, store.Out)
		if err != nil || same != (store.MessageID{}) {
			t.Errorf("the message itself gets the id %v, %v", same, err)
		}
		alias, err := r.h.FreeID(tx, id, r.bob, store.In)
		if err != nil || alias == id || alias == (store.MessageID{}) {
			t.Errorf("another message gets the id %v, %v", alias, err)
		}
		return r.h.Owe(tx, r.bob, alias, e2e.ReceiptState_RECEIPT_STATE_DELIVERED)
	})
	if owed := r.owed(e2e.ReceiptState_RECEIPT_STATE_DELIVERED); len(owed) != 1 || owed[0] != id {
		t.Errorf("receipts for %v, want the sender's id %v", owed, id)
	}
}

// TestReceiptWaitsForAllFiles fetches one file of a message after the other.
func TestReceiptWaitsForAllFiles(t *testing.T) {
	r := newRig(t)
	m := r.received(3)
	var files []store.File
	r.update(func(tx *store.Tx) (err error) {
		files, err = tx.FilesOf(r.account, m.ID)
		return err
	})
	if len(files) != 3 || files[0].Name != "f" || files[0].State != store.FileOffered {
		t.Fatalf("%d files, the first %+v", len(files), files[0])
	}
	r.update(func(tx *store.Tx) error { return r.h.FileFetched(tx, files[0].ID, "/tmp/f", 0) })
	r.update(func(tx *store.Tx) error { return r.h.FetchFailed(tx, files[1].ID, store.FileFailed, "no", 0) })
	if owed := r.owed(e2e.ReceiptState_RECEIPT_STATE_DELIVERED); len(owed) != 0 {
		t.Errorf("a receipt for %v although files are missing", owed)
	}
	r.update(func(tx *store.Tx) error { return r.h.FileFetched(tx, files[1].ID, "/tmp/f1", 0) })
	r.update(func(tx *store.Tx) error {
		out, err := r.h.CancelFile(tx, IDText(files[2].ID)) // one that came is declined
		if err == nil && out.State != local.FileDeclined {
			t.Errorf("the file is %s", out.State)
		}
		return err
	})
	if owed := r.owed(e2e.ReceiptState_RECEIPT_STATE_DELIVERED); len(owed) != 1 || owed[0] != m.ID {
		t.Errorf("with two files here and one declined a receipt is due for %v", owed)
	}
	if owed := r.owed(e2e.ReceiptState_RECEIPT_STATE_READ); len(owed) != 0 {
		t.Errorf("a read receipt for %v, which is unread", owed)
	}
}

// TestFailEndsAMessage drops it from the outbox.
func TestFailEndsAMessage(t *testing.T) {
	r := newRig(t)
	id := r.sent()
	r.update(func(tx *store.Tx) error {
		return tx.InsertOutgoing(&store.Outgoing{Account: r.account, ID: id, Peer: r.bob, Kind: int32(e2e.Kind_KIND_TEXT), Phase: store.PhaseQueued, ExpiresMS: 1, Body: []byte{}})
	})
	outbox := func() (out []local.SendResult) {
		r.update(func(tx *store.Tx) (err error) {
			out, err = r.h.Outbox(tx, func(*store.Outgoing, string) *local.Error { return local.Errorf(local.CodeQuota, "full") })
			return err
		})
		return out
	}
	if out := outbox(); len(out) != 1 || out[0].State != local.StateQueued || out[0].Peer != "bob@x.example" || out[0].Waiting == nil {
		t.Fatalf("outbox: %+v", out)
	}
	r.update(func(tx *store.Tx) error {
		o, err := tx.OutgoingHead(r.account, id)
		if err != nil {
			return err
		}
		return r.h.Fail(tx, o, local.StateFailed, ReasonCancelled)
	})
	if out := outbox(); len(out) != 0 {
		t.Errorf("outbox: %+v", out)
	}
	var results []local.SendResult
	r.update(func(tx *store.Tx) (err error) {
		results, err = r.h.Results(tx, []store.MessageID{id})
		return err
	})
	if results[0].State != local.StateCancelled || results[0].Error == nil || results[0].Error.Cause != local.CauseCancelled {
		t.Errorf("result: %+v", results[0])
	}
	if err := r.st.View(t.Context(), func(tx *store.Tx) error { _, err := r.h.Results(tx, []store.MessageID{{9}}); return err }); local.As(err).Code != local.CodeNotFound {
		t.Errorf("an unknown message: %v", err)
	}
}

// TestMissedCallIsToldOnce records calls as the daemon does that is restarted while
// one rings.
func TestMissedCallIsToldOnce(t *testing.T) {
	r := newRig(t)
	id := newID(t)
	call := Call{Peer: "bob@x.example", Device: [16]byte{7}, Began: r.now, Call: local.Call{ID: IDText(id), State: local.CallRinging, Direction: local.DirectionIn, Audio: true}}
	record := func(c Call) { r.update(func(tx *store.Tx) error { return r.h.RecordCall(tx, id, c) }) }
	calls := func() (out []local.Event) {
		r.update(func(tx *store.Tx) (err error) {
			out, err = r.h.Calls(tx, "", 10)
			return err
		})
		return out
	}
	record(call)
	if list := calls(); len(list) != 0 {
		t.Errorf("a call that rings is in history: %+v", list)
	}
	r.update(r.h.EndOpenCalls) // the daemon was killed
	list := calls()
	if len(list) != 1 || !list[0].Call.Missed || list[0].Call.Reason != local.CallDaemonRestart {
		t.Fatalf("after a restart: %+v", list)
	}
	missed := call
	missed.Call.State, missed.Call.Missed = local.CallEnded, true
	record(missed) // it rang again, and was missed again
	if again := calls(); len(again) != 1 || again[0].Seq != list[0].Seq {
		t.Errorf("missed again: %+v", again)
	}
	taken := missed
	taken.Call.Missed = false
	record(taken) // it rang again, and was answered
	if list = calls(); len(list) != 1 || list[0].Call.Missed {
		t.Errorf("answered at last: %+v", list)
	}
}
