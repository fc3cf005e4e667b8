package serverd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/crypto/key"
	"secmsg/serverd/blob"
	"secmsg/serverd/store"
)

// sweepRig is a sweeper over a real database and a real directory.
type sweepRig struct {
	*blobs
	t    *testing.T
	db   *store.SQLite
	disk *blob.Disk
	late atomic.Int64 // the clock's offset in seconds
	stop atomic.Bool  // the clock is held
}

func newSweepRig(t *testing.T) *sweepRig {
	t.Helper()
	dir := t.TempDir()
	r := &sweepRig{t: t}
	now := func() time.Time { return time.Unix(1_900_000_000+r.late.Load(), 0) }
	var err error
	r.db, err = store.Open(t.Context(), filepath.Join(dir, "server.db"), store.Options{})
	r.must(err)
	r.disk, err = blob.OpenDisk(blob.DiskOptions{Dir: filepath.Join(dir, "blobs"), Key: bytes.Repeat([]byte{1}, blob.KeySize), Now: now})
	r.must(err)
	t.Cleanup(func() { r.must(errors.Join(r.disk.Close(), r.db.Close())) })
	r.blobs = &blobs{
		store: r.disk, rows: r.db, now: now, held: r.stop.Load, every: time.Hour, logger: slog.New(slog.DiscardHandler), kick: make(chan struct{}, 1),
	}
	token := [32]byte{1}
	r.must(r.db.CreateInvite(t.Context(), store.Invite{ID: "i", TokenHash: token, Uses: 1, Created: now(), Expires: now().Add(time.Hour)}))
	_, err = r.db.Register(t.Context(), store.Registration{TokenHash: token, Name: "alice", Identity: []byte("i"), Chain: [][]byte{{1}}, Now: now(), Manifest: store.Manifest{
		Version: 1, Signed: []byte("m"), Devices: []store.Device{{ID: key.DeviceID{1}, Account: "alice", Signing: []byte("s"), Name: "laptop", Added: now()}},
	}})
	r.must(err)
	return r
}

func (r *sweepRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// row creates a row that expires in a minute.
func (r *sweepRig) row() [16]byte {
	r.t.Helper()
	id := blob.NewID()
	r.must(r.db.CreateBlob(r.t.Context(), store.Blob{
		ID: id, Owner: "alice", State: store.BlobOpen, Created: r.now(), Expires: r.now().Add(time.Minute), Life: time.Minute,
	}, nil, store.BlobLimits{Quota: 1 << 20, Size: 1 << 20, Count: 1000, Unfinished: 1000}))
	return id
}

// bytes uploads a part of seven bytes.
func (r *sweepRig) bytes(id [16]byte) []blob.Part {
	r.t.Helper()
	_, err := r.disk.Create(r.t.Context(), id)
	r.must(err)
	u, err := r.disk.PutURL(r.t.Context(), blob.Ticket{ID: id, Account: "alice", Expires: r.now().Add(time.Hour)}, "", 1, 7)
	r.must(err)
	rec := httptest.NewRecorder()
	r.disk.ServeHTTP(deadlines{rec}, httptest.NewRequest("PUT", u, strings.NewReader("content")))
	parts, err := r.disk.Parts(r.t.Context(), id, "")
	if rec.Code != 200 || err != nil || len(parts) != 1 {
		r.t.Fatal(rec.Code, rec.Body, parts, err)
	}
	return parts
}

// deadlines is a ResponseWriter with deadlines, like that of a connection.
type deadlines struct{ *httptest.ResponseRecorder }

// SetReadDeadline does nothing.
func (deadlines) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// upload makes an open blob of seven bytes.
func (r *sweepRig) upload() (id [16]byte, parts []blob.Part) {
	r.t.Helper()
	id = r.row()
	parts = r.bytes(id)
	r.must(r.db.ReserveParts(r.t.Context(), id, "alice", []store.BlobPart{{Number: 1, Size: 7}}, r.now(), r.now().Add(time.Minute),
		store.BlobLimits{Quota: 1 << 20, Size: 1 << 20, Count: 1000, Unfinished: 1000}))
	return id, parts
}

// has reports whether there are bytes of a blob.
func (r *sweepRig) has(id [16]byte) bool {
	r.t.Helper()
	ids, err := r.disk.List(r.t.Context(), before(id), 1)
	r.must(err)
	return len(ids) == 1 && ids[0] == id
}

// before returns the next smaller id.
func before(id [16]byte) [16]byte {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]--; id[i] != 0xff {
			break
		}
	}
	return id
}

func (r *sweepRig) reserved() int64 {
	r.t.Helper()
	u, err := r.db.BlobUsage(r.t.Context(), "alice")
	r.must(err)
	return u.Bytes
}

// until waits until f is true.
func (r *sweepRig) until(f func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !f(); <-tick.C {
		if time.Now().After(deadline) {
			r.t.Fatal("the condition was not met in time")
		}
	}
}

// While the clock is held, nothing expires and no bytes count as orphaned; blobs deleted by their owner
// are removed all the same.
func TestSweepWithHeldClock(t *testing.T) {
	r := newSweepRig(t)
	expired, _ := r.upload()
	deleted, _ := r.upload()
	orphan := blob.NewID()
	r.bytes(orphan)
	r.must(r.db.DropBlob(t.Context(), deleted, "alice", r.now()))
	r.late.Store(3600)
	r.stop.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	var owned sync.WaitGroup
	owned.Go(func() { r.run(ctx) })
	defer owned.Wait()
	defer cancel()
	r.until(func() bool { return r.reserved() == 7 })
	r.wake()
	r.until(func() bool { return len(r.kick) == 0 })
	if !r.has(expired) || !r.has(orphan) || r.has(deleted) {
		t.Errorf("held: expired %v, nobody's %v, deleted %v", r.has(expired), r.has(orphan), r.has(deleted))
	}
	r.stop.Store(false)
	r.wake()
	r.until(func() bool { return !r.has(expired) && !r.has(orphan) && r.reserved() == 0 })
}

// Bytes without a row are deleted; those of every row stay, including a row that is created while the
// sweeper runs.
func TestSweepOrphans(t *testing.T) {
	r := newSweepRig(t)
	var orphans [][16]byte
	for range sweepBatch/4 + 1 {
		id := blob.NewID()
		_, err := r.disk.Create(t.Context(), id)
		r.must(err)
		orphans = append(orphans, id)
	}
	open, _ := r.upload()
	whole, parts := r.upload()
	r.must(r.disk.Complete(t.Context(), whole, "", parts)) // its row does not say so yet
	dead, _ := r.upload()
	r.must(r.db.DropBlob(t.Context(), dead, "alice", r.now()))
	made := make(chan [16]byte, 100)
	var maker sync.WaitGroup
	maker.Go(func() {
		defer close(made)
		for range cap(made) {
			id := r.row()
			if _, err := r.disk.Create(context.Background(), id); err != nil {
				t.Error(err)
			}
			made <- id
		}
	})
	for len(made) < cap(made) && !t.Failed() {
		r.must(r.sweepOrphans(t.Context()))
	}
	maker.Wait()
	r.must(r.sweepOrphans(t.Context()))
	for id := range made {
		if !r.has(id) {
			t.Fatal("a new upload was deleted as unreferenced")
		}
	}
	if !r.has(open) || !r.has(whole) || !r.has(dead) {
		t.Error("bytes that a row refers to were deleted as unreferenced")
	}
	for _, id := range orphans {
		if r.has(id) {
			t.Fatal("bytes without a row were kept")
		}
	}
}

// An upload that expires during its completion is removed completely: bytes, row and reservation,
// whichever comes first.
func TestSweepDuringCompletion(t *testing.T) {
	for _, first := range []string{"sweep", "bytes"} {
		r := newSweepRig(t)
		id, parts := r.upload()
		complete := func() error { return r.disk.Complete(t.Context(), id, "", parts) }
		if first == "bytes" {
			r.must(complete())
		}
		r.late.Store(60)
		r.must(r.sweep(t.Context()))
		if first == "sweep" {
			if err := complete(); !errors.Is(err, blob.ErrNotFound) {
				t.Error(err)
			}
		}
		if err := r.db.CompleteBlob(t.Context(), id, "alice", []store.BlobPart{{Number: 1, Size: 7}}, r.now(), r.now().Add(time.Hour)); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		if r.has(id) || r.reserved() != 0 {
			t.Errorf("%s first: left %v, %d reserved", first, r.has(id), r.reserved())
		}
	}
}

// stuckStore cannot delete some blobs.
type stuckStore struct {
	blob.Store
	stuck map[[16]byte]bool
}

var errStuck = errors.New("stuck on purpose")

// Delete fails for some blobs.
func (s *stuckStore) Delete(ctx context.Context, id [16]byte) error {
	if s.stuck[id] {
		return errStuck
	}
	return s.Store.Delete(ctx, id)
}

// Bytes that cannot be deleted stay reserved, do not block others, and are tried again.
func TestSweepThatFails(t *testing.T) {
	r := newSweepRig(t)
	s := &stuckStore{Store: r.disk}
	r.store = s
	for range 3 {
		id, _ := r.upload()
		s.stuck = map[[16]byte]bool{id: true}
		r.must(r.db.DropBlob(t.Context(), id, "alice", r.now()))
	}
	if err := r.sweep(t.Context()); !errors.Is(err, errStuck) || r.reserved() != 7 {
		t.Errorf("%v, %d reserved", err, r.reserved())
	}
	s.stuck = nil
	r.must(r.sweep(t.Context()))
	if r.reserved() != 0 {
		t.Errorf("%d reserved", r.reserved())
	}
}

// A whole batch that can never be deleted does not block the blobs after it, and is tried again in
// every round.
func TestSweepGoesRound(t *testing.T) {
	r := newSweepRig(t)
	s := &stuckStore{Store: r.disk, stuck: map[[16]byte]bool{}}
	r.store = s
	ids := make([][16]byte, 2*sweepBatch+1)
	for i := range ids {
		ids[i] = r.row()
		r.must(r.db.DropBlob(t.Context(), ids[i], "alice", r.now()))
	}
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids[:sweepBatch] {
		s.stuck[id] = true
	}
	left := func() int {
		u, err := r.db.BlobUsage(t.Context(), "alice")
		r.must(err)
		return u.Blobs
	}
	for range 2 {
		if err := r.sweep(t.Context()); !errors.Is(err, errStuck) {
			t.Error(err)
		}
	}
	if n := left(); n != sweepBatch {
		t.Errorf("%d rows are left, want the %d stuck ones", n, sweepBatch)
	}
	s.stuck = map[[16]byte]bool{ids[sweepBatch-1]: true}
	for range 2 {
		if err := r.sweep(t.Context()); !errors.Is(err, errStuck) {
			t.Error(err)
		}
	}
	if n := left(); n != 1 {
		t.Errorf("%d rows are left, want the one that is stuck", n)
	}
}

// Orphaned bytes that cannot be deleted do not block others.
func TestSweepOrphansThatFails(t *testing.T) {
	r := newSweepRig(t)
	s := &stuckStore{Store: r.disk, stuck: map[[16]byte]bool{}}
	r.store = s
	var ids [][16]byte
	for range 3 {
		id := blob.NewID()
		r.bytes(id)
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	s.stuck[ids[0]] = true
	if err := r.sweepOrphans(t.Context()); !errors.Is(err, errStuck) {
		t.Error(err)
	}
	if !r.has(ids[0]) || r.has(ids[1]) || r.has(ids[2]) {
		t.Errorf("left: %v %v %v", r.has(ids[0]), r.has(ids[1]), r.has(ids[2]))
	}
}
