package store

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

func newBlob(owner string, declared int64) Blob {
	return Blob{
		ID: [16]byte(random(16)), Owner: owner, State: BlobOpen, Declared: declared, Reserved: declared,
		Created: epoch(), Expires: epoch().Add(time.Hour), Life: time.Minute,
	}
}

func blobLimits() BlobLimits {
	return BlobLimits{Quota: 100, Size: 60, Count: 5, Unfinished: 3, MinPart: 10}
}

func testBlobs(t *testing.T, open opener) {
	dir := t.TempDir()
	s, ctx := open(t, dir), ctxOf(t)
	account(t, s, "alice")
	account(t, s, "bob")
	b := newBlob("alice", 0)
	must(t, s.CreateBlob(ctx, b, []string{"bob", "bob", "nobody"}, blobLimits()))
	must(t, s.SetBlobUpload(ctx, b.ID, "upload"))
	want(t, s.SetBlobUpload(ctx, [16]byte{1}, "upload"), ErrNotFound)
	now := epoch()
	parts := []BlobPart{{1, 10}, {2, 20}}
	later := now.Add(2 * time.Hour)
	must(t, s.ReserveParts(ctx, b.ID, "alice", parts, now, later, blobLimits()))
	must(t, s.ReserveParts(ctx, b.ID, "alice", parts[:1], now, now, blobLimits()))
	b.Upload, b.Reserved, b.Expires = "upload", 30, later
	got, err := s.OwnBlob(ctx, b.ID, "alice", now)
	must(t, err)
	equal(t, "own", got, b)
	want(t, s.ReserveParts(ctx, b.ID, "bob", parts, now, later, blobLimits()), ErrNotFound)
	want(t, s.ReserveParts(ctx, b.ID, "alice", []BlobPart{{3, 20}, {1, 11}}, now, later, blobLimits()), ErrConflict)
	want(t, s.ReserveParts(ctx, b.ID, "alice", []BlobPart{{3, 9}, {4, 10}}, now, later, blobLimits()), ErrConflict)
	want(t, s.ReserveParts(ctx, b.ID, "alice", []BlobPart{{3, 31}}, now, later, blobLimits()), ErrTooLarge)
	list, err := s.BlobParts(ctx, b.ID)
	must(t, err)
	if !slices.Equal(list, parts) {
		t.Fatal("a refused reservation left parts", list)
	}
	_, err = s.ReadableBlob(ctx, b.ID, "bob", now)
	want(t, err, ErrNotFound)
	must(t, s.ReserveParts(ctx, b.ID, "alice", []BlobPart{{3, 5}}, now, later, blobLimits()))
	for _, wrong := range [][]BlobPart{nil, {{2, 20}}, {{1, 10}, {2, 21}}, {{1, 10}, {2, 20}, {3, 5}, {4, 1}}} {
		want(t, s.CompleteBlob(ctx, b.ID, "alice", wrong, now, later), ErrConflict)
	}
	want(t, s.CompleteBlob(ctx, b.ID, "bob", parts, now, later), ErrNotFound)
	must(t, s.CompleteBlob(ctx, b.ID, "alice", parts, now, later))
	must(t, s.CompleteBlob(ctx, b.ID, "alice", parts, now, later.Add(time.Hour)))
	want(t, s.CompleteBlob(ctx, b.ID, "alice", parts[:1], now, later), ErrConflict)
	want(t, s.ReserveParts(ctx, b.ID, "alice", parts, now, later, blobLimits()), ErrConflict)
	u, err := s.BlobUsage(ctx, "alice")
	must(t, err)
	equal(t, "usage", u, BlobUsage{Bytes: 30, Blobs: 1})
	must(t, s.Close())

	s = open(t, dir)
	must(t, s.CountDownload(ctx, b.ID))
	for account, readable := range map[string]bool{"alice": true, "bob": true, "nobody": false} {
		got, err := s.ReadableBlob(ctx, b.ID, account, now)
		if (err == nil) != readable || readable && (got.Size != 30 || got.Downloads != 1 || got.State != BlobComplete || !got.Expires.Equal(later)) {
			t.Errorf("%s: %+v %v", account, got, err)
		}
	}
	_, err = s.ReadableBlob(ctx, [16]byte{1}, "bob", now)
	want(t, err, ErrNotFound)
	must(t, s.SetRelation(ctx, "alice", "bob", RelationBlocked))
	_, err = s.ReadableBlob(ctx, b.ID, "bob", now)
	want(t, err, ErrNotFound)
	must(t, s.SetRelation(ctx, "alice", "bob", RelationNone))
	_, err = s.ReadableBlob(ctx, b.ID, "bob", later)
	want(t, err, ErrNotFound)
	must(t, s.Close())
}

func testBlobLimits(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	account(t, s, "alice")
	l := blobLimits()
	want(t, s.CreateBlob(ctx, newBlob("alice", 61), nil, l), ErrTooLarge)
	first, second := newBlob("alice", 60), newBlob("alice", 0)
	must(t, s.CreateBlob(ctx, first, nil, l))
	want(t, s.CreateBlob(ctx, newBlob("alice", 41), nil, l), ErrFull)
	must(t, s.CreateBlob(ctx, second, nil, l))
	now := epoch()
	want(t, s.ReserveParts(ctx, second.ID, "alice", []BlobPart{{1, 41}}, now, now, l), ErrFull)
	want(t, s.ReserveParts(ctx, first.ID, "alice", []BlobPart{{1, 61}}, now, now, l), ErrTooLarge)
	must(t, s.ReserveParts(ctx, second.ID, "alice", []BlobPart{{1, 40}}, now, now, l))
	// Own quotas, larger and smaller than the configured one.
	want(t, s.SetBlobQuota(ctx, "nobody", 5), ErrNotFound)
	must(t, s.SetBlobQuota(ctx, "alice", 101))
	must(t, s.CreateBlob(ctx, newBlob("alice", 1), nil, l))
	want(t, s.CreateBlob(ctx, newBlob("alice", 0), nil, l), ErrFull) // three are unfinished
	must(t, s.SetBlobQuota(ctx, "alice", 0))
	u, err := s.BlobUsage(ctx, "alice")
	must(t, err)
	equal(t, "usage", u, BlobUsage{Bytes: 101, Blobs: 3, Unfinished: 3})

	// 100 simultaneous reservations stay within the quota.
	must(t, s.DropBlob(ctx, second.ID, "alice", now))
	l.Count, l.Unfinished = 1000, 1000
	errs := each(100, func(int) error { return s.CreateBlob(ctx, newBlob("alice", 1), nil, l) })
	refused := 0
	for _, err := range errs {
		if err != nil {
			want(t, err, ErrFull)
			refused++
		}
	}
	equal(t, "refused", refused, 100) // dead blobs count until their bytes are deleted
	must(t, s.ForgetBlobs(ctx, [][16]byte{second.ID, first.ID}))
	errs = each(100, func(int) error { return s.CreateBlob(ctx, newBlob("alice", 1), nil, l) })
	refused = 0
	for _, err := range errs {
		if err != nil {
			refused++
		}
	}
	equal(t, "refused", refused, 61) // 60 of the first and 1 remain
}

func testBlobSweep(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	account(t, s, "alice")
	account(t, s, "bob")
	l := BlobLimits{Quota: 1000, Size: 1000, Count: 100, Unfinished: 100}
	var made [][16]byte
	for i := range 5 {
		b := newBlob("alice", 1)
		b.Expires = epoch().Add(time.Duration(i) * time.Minute)
		must(t, s.CreateBlob(ctx, b, []string{"bob"}, l))
		made = append(made, b.ID)
	}
	first := [16]byte{}
	dead, err := s.DeadBlobs(ctx, first, 10)
	must(t, err)
	equal(t, "dead before anything expired", len(dead), 0)
	for _, most := range []int{2, 1, 0} {
		n, err := s.ExpireBlobs(ctx, epoch().Add(2*time.Minute), 2)
		must(t, err)
		equal(t, "expired", n, most)
	}
	dead, err = s.DeadBlobs(ctx, first, 2)
	must(t, err)
	equal(t, "dead in a batch", len(dead), 2)
	rest, err := s.DeadBlobs(ctx, dead[1], 2)
	must(t, err)
	equal(t, "dead behind it", len(rest), 1)
	if dead = append(dead, rest...); !slices.IsSortedFunc(dead, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
		t.Errorf("not in order: %x", dead)
	}
	must(t, s.ForgetBlobs(ctx, dead))
	dead, err = s.DeadBlobs(ctx, first, 2)
	must(t, err)
	equal(t, "dead when all are forgotten", len(dead), 0)
	must(t, s.ForgetBlobs(ctx, made)) // rows of living blobs are not removed
	known, err := s.KnownBlobs(ctx, append(made, [16]byte{1}))
	must(t, err)
	if len(known) != 2 || !known[made[3]] || !known[made[4]] {
		t.Fatalf("%v", known)
	}
	want(t, s.DropBlob(ctx, made[3], "bob", epoch()), ErrNotFound)
	must(t, s.DropBlob(ctx, made[3], "alice", epoch()))
	want(t, s.DropBlob(ctx, made[3], "alice", epoch()), ErrNotFound)
	must(t, s.SetBlobQuota(ctx, "alice", 1))
	must(t, s.DeleteAccount(ctx, "alice"))
	dead, err = s.DeadBlobs(ctx, first, 10)
	must(t, err)
	equal(t, "dead with the account", len(dead), 2)
	u, err := s.BlobUsage(ctx, "alice")
	must(t, err)
	equal(t, "usage of the next of that name", u, BlobUsage{})
	want(t, s.CreateBlob(ctx, newBlob("alice", 1), nil, l), ErrNotFound)
}
