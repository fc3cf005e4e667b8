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

// TestBlockEndsUnaskedFetch blocks a peer in the middle of a fetch: the unasked
// one ends, and leaves nothing; what the user asked for goes on.
func TestBlockEndsUnaskedFetch(t *testing.T) {
	for name, ends := range map[string]func(w *world, f *store.File){
		"blocked": func(w *world, _ *store.File) { w.relate(store.RelationBlocked) },
		"removed": func(w *world, _ *store.File) { w.relate(store.RelationNone) },
		"expired": func(w *world, f *store.File) { w.offer(f.ID, store.FileExpired) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var stuck, asked atomic.Int64
			var open atomic.Bool
			w.blobs.get = func(ctx context.Context, offset int64) error {
				asked.Add(1)
				if offset == 0 || open.Load() {
					return nil
				}
				stuck.Add(1)
				<-ctx.Done()
				return context.Cause(ctx)
			}
			w.start()
			f := w.offered("f", 2*seal.FilePartPlain+7)
			w.offer(f.ID, store.FileFetching)
			w.s.Kick()
			w.until("a part is durable and two are on their way", func() bool { return w.durable(f.ID) == 1 && stuck.Load() == 2 })

			ends(w, f)
			w.s.Changed()
			w.settled()
			nothingIn(t, filepath.Join(w.dir, "downloads"))
			w.until("it has ended", func() bool {
				w.s.mu.Lock()
				defer w.s.mu.Unlock()
				return len(w.s.fetches) == 0
			})
			if n := asked.Load(); n != 3 {
				t.Errorf("%d parts were asked for", n)
			}
			if name == "expired" {
				return
			}

			// A fetch that the user asked for is the user's to end.
			if now := w.file(f.ID); now.State != store.FileFetching {
				t.Errorf("the file is %s", now.State)
			}
			open.Store(true)
			dir := t.TempDir()
			if _, err := w.get(f.ID, filepath.Join(dir, "asked")); err != nil {
				t.Error(err)
			}
			wantFile(t, filepath.Join(dir, "asked"), pattern(2*seal.FilePartPlain+7, 1))
		})
	}
}

// TestBlockDuringAskedFetch holds that a block does not end a fetch into the
// very directory of unasked ones, if the user asked for it.
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
	w.offer(f.ID, store.FileFetching) // as if it were also fetched unasked
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
