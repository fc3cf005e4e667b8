package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// modelBlob is the test's model of a blob whose row exists.
type modelBlob struct {
	Blob
	parts []BlobPart
}

// testBlobUsage makes a thousand random changes to the blobs of two accounts and compares the store's
// usage with its own count after each. The stored counts must never differ from the rows, whatever
// succeeds or is refused.
func testBlobUsage(t *testing.T, open opener) {
	dir := t.TempDir()
	s, ctx := open(t, dir), ctxOf(t)
	names := []string{"alice", "bob"}
	for _, name := range names {
		account(t, s, name)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	limits := BlobLimits{Quota: 500, Size: 100, Count: 12, Unfinished: 8, MinPart: 10}
	now := epoch()
	blobs := map[[16]byte]*modelBlob{}
	pick := func() *modelBlob {
		for _, b := range blobs { // a map's order is random enough
			return b
		}
		return &modelBlob{Blob: newBlob("alice", 0)}
	}
	for step := range 1000 {
		b := pick()
		owner := b.Owner
		if owner == "" || rnd.IntN(10) == 0 {
			owner = names[rnd.IntN(2)]
		}
		switch rnd.IntN(9) {
		case 0, 1, 2:
			fresh := newBlob(names[rnd.IntN(2)], int64(rnd.IntN(3)*rnd.IntN(60)))
			fresh.Expires = now.Add(time.Duration(1+rnd.IntN(40)) * time.Minute)
			if err := s.CreateBlob(ctx, fresh, nil, limits); err == nil {
				blobs[fresh.ID] = &modelBlob{Blob: fresh}
			} else if !errors.Is(err, ErrFull) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
		case 3, 4:
			parts := []BlobPart{{len(b.parts) + 1, int64(5 + rnd.IntN(40))}, {len(b.parts) + 2, int64(5 + rnd.IntN(40))}}[:1+rnd.IntN(2)]
			if err := s.ReserveParts(ctx, b.ID, owner, parts, now, b.Expires, limits); err == nil {
				b.parts = append(b.parts, parts...)
				if b.Declared == 0 {
					for _, p := range parts {
						b.Reserved += p.Size
					}
				}
			}
		case 5:
			n := rnd.IntN(len(b.parts) + 1)
			if err := s.CompleteBlob(ctx, b.ID, owner, b.parts[:n], now, b.Expires); err == nil && b.State == BlobOpen {
				b.State, b.parts, b.Reserved = BlobComplete, b.parts[:n], 0
				for _, p := range b.parts {
					b.Reserved += p.Size
				}
			}
		case 6:
			if err := s.DropBlob(ctx, b.ID, owner, now); err == nil {
				b.State = BlobDead
			}
		case 7:
			if rnd.IntN(20) == 0 {
				must(t, s.DeleteAccount(ctx, owner))
				for _, b := range blobs {
					if b.Owner == owner {
						b.State, b.Owner = BlobDead, ""
					}
				}
				_, err := s.Register(ctx, registration(invite(t, s, fmt.Sprint("again ", step), 1), owner, newDevice(owner, "next")))
				must(t, err)
				break
			}
			now = now.Add(time.Minute)
			_, err := s.ExpireBlobs(ctx, now, 100)
			must(t, err)
			for _, b := range blobs {
				if !now.Before(b.Expires) {
					b.State = BlobDead
				}
			}
		case 8:
			must(t, s.ForgetBlobs(ctx, [][16]byte{b.ID}))
			if b.State == BlobDead {
				delete(blobs, b.ID)
			}
		}
		if step == 500 {
			must(t, s.Close())
			s = open(t, dir)
		}
		for _, name := range names {
			var counted BlobUsage
			for _, b := range blobs {
				if b.Owner != name {
					continue
				}
				counted.Blobs++
				counted.Bytes += b.Reserved
				if b.State == BlobOpen {
					counted.Unfinished++
				}
			}
			got, err := s.BlobUsage(ctx, name)
			must(t, err)
			equal(t, name+" takes", got, counted)
		}
	}
	must(t, s.Close())
}
