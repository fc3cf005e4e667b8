package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Stalled transfers do not take the memory of other accounts or of the other direction. The
// shared memory is bounded, and all of it is returned.
func TestMemoryOfStalledTransfers(t *testing.T) {
	m := NewMemory()
	own := func() chan struct{} { return make(chan struct{}, 1) }
	alice, bob, up := own(), own(), own()
	var held []*reservation
	take := func(own chan struct{}, most, want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := m.reserve(ctx, own, most, partBuffer)
		if err != nil {
			t.Fatal(err)
		}
		if r.count != want {
			t.Errorf("%d buffers, want %d", r.count, want)
		}
		held = append(held, r)
	}
	take(alice, fetchBuffers, fetchBuffers) // three of them shared
	take(alice, fetchBuffers, leastBuffers) // the rest of the shared memory
	if r, err := m.reserve(gone(t), alice, fetchBuffers, partBuffer); !errors.Is(err, context.Canceled) {
		t.Fatalf("a third fetch has %v (%v)", r, err)
	}
	take(up, uploadBuffers, leastBuffers)
	take(bob, fetchBuffers, leastBuffers)
	for _, r := range held {
		r.release()
	}
	held = nil
	take(alice, fetchBuffers, fetchBuffers)
	held[0].release()
	if !m.shared.TryAcquire(memoryLimit) || len(alice)+len(bob)+len(up) > 0 {
		t.Error("not all of it has come back")
	}
}

func gone(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A transfer works with any number of buffers from the minimum to the maximum, and never
// uses more than it reserved.
func TestTransfersKeepToTheirMemory(t *testing.T) {
	const size = 5*seal.FilePartPlain + 3
	for shared := range fetchBuffers - leastBuffers + 1 {
		t.Run(fmt.Sprint(leastBuffers+shared), func(t *testing.T) {
			w := newWorld(t)
			w.start()
			m := w.s.o.Memory
			if !m.shared.TryAcquire(int64(fetchBuffers-shared) * partBuffer) {
				t.Fatal("somebody has memory")
			}
			// Another reservation keeps returned buffers from being freed.
			other, err := m.reserve(t.Context(), make(chan struct{}, 1), leastBuffers, partBuffer)
			if err != nil {
				t.Fatal(err)
			}
			defer other.release()
			held := func(what string, most int) {
				t.Helper()
				m.mu.Lock()
				defer m.mu.Unlock()
				if n := len(m.free); n == 0 || n > most {
					t.Errorf("%s held %d parts, of %d", what, n, most)
				}
				m.free = nil
			}
			f := w.wait(w.send(w.source("f", size)), store.FileSent)
			w.until("the upload holds its memory", func() bool {
				m.mu.Lock()
				defer m.mu.Unlock()
				return m.used == 1
			})
			held("the upload", min(leastBuffers+shared, uploadBuffers))
			w.offer(f.ID, store.FileOffered)
			out := filepath.Join(w.dir, "got")
			if _, err := w.get(f.ID, out); err != nil {
				t.Fatal(err)
			}
			wantFile(t, out, pattern(size, 1))
			held("the fetch", leastBuffers+shared)
			r, pw := io.Pipe()
			go func() { _, _ = io.Copy(io.Discard, r) }()
			if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(f.ID).String(), Stream: true}, pw, nil); err != nil {
				t.Fatal(err)
			}
			held("the fetch into a pipe", leastBuffers)
		})
	}
}
