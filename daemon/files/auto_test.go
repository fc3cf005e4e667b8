package files

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

// TestBlockEndsUnaskedFetch blocks a peer during a fetch. The automatic fetch ends and
// leaves no file; a fetch that the user requested completes.
func TestBlockEndsUnaskedFetch(t *testing.T) {
	w := newWorld(t)
	w.start()
	const size = seal.FilePartPlain + 7
	f := w.offered("f", size)
	for name, ends := range map[string]func(){
		"blocked": func() { w.relate(store.RelationBlocked) },
		"removed": func() { w.relate(store.RelationNone) },
		"expired": func() { w.offer(f.ID, store.FileExpired) },
	} {
		var stuck, asked atomic.Int64
		w.blobs.get = func(ctx context.Context, offset int64) error {
			asked.Add(1)
			if offset == 0 {
				return nil
			}
			stuck.Add(1)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		w.relate(store.RelationContact)
		w.offer(f.ID, store.FileFetching)
		w.s.Changed()
		w.until("a part is durable and one is on its way", func() bool { return w.durable(f.ID) == 1 && stuck.Load() == 1 })
		ends()
		w.s.Changed()
		w.settled()
		nothingIn(t, filepath.Join(w.dir, "downloads"))
		w.until("it has ended", func() bool {
			w.s.mu.Lock()
			defer w.s.mu.Unlock()
			return len(w.s.fetches) == 0
		})
		if n := asked.Load(); n != 2 {
			t.Errorf("%s: %d parts were asked for", name, n)
		}
	}
	w.blobs.get = nil
	w.relate(store.RelationBlocked)
	w.offer(f.ID, store.FileFetching)
	path := filepath.Join(w.dir, "asked")
	if _, err := w.get(f.ID, path); err != nil {
		t.Error(err)
	}
	wantFile(t, path, pattern(size, 1))
}

// TestBlockDuringAskedFetch checks that a block does not end a fetch that the user
// requested, even into the directory of automatic fetches.
func TestBlockDuringAskedFetch(t *testing.T) {
	w := newWorld(t)
	gate, began := make(chan struct{}), make(chan struct{}, 1)
	w.blobs.get = func(ctx context.Context, offset int64) error {
		if offset > 0 {
			began <- struct{}{}
			<-gate
		}
		return ctx.Err()
	}
	w.start()
	f := w.offered("f", seal.FilePartPlain+7)
	downloads := filepath.Join(w.dir, "downloads")
	if err := os.MkdirAll(downloads, dirMode); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.get(f.ID, downloads)
		done <- err
	}()
	<-began
	w.relate(store.RelationBlocked)
	w.offer(f.ID, store.FileFetching) // as if it were also fetched automatically
	w.s.Changed()
	w.until("it was looked at", func() bool {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		return w.s.paused[f.ID].tries > 0
	})
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(downloads, "f"), pattern(seal.FilePartPlain+7, 1))
}
