package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// taker is a caller of Get with a stream.
type taker struct {
	bytes.Buffer
	closed bool
}

func (s *taker) Close() error { s.closed = true; return nil }

func (w *world) get(id store.MessageID, path string) (local.FileGot, error) {
	return w.s.Get(w.t.Context(), local.FileGetParams{ID: uuid.UUID(id).String(), Path: path}, nil, nil)
}

func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes instead of %d, %v", len(got), len(want), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// nothingIn fails if a directory contains anything, hidden or not.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) > 0 {
		t.Errorf("%s holds %v, %v", dir, list, err)
	}
}

func TestRoundTrips(t *testing.T) {
	w := newWorld(t)
	w.start()
	for _, n := range edges() {
		if n > seal.FilePartPlain+1 {
			continue // TestUploadGoesOn and TestFetchGoesOn cover a middle part
		}
		want := pattern(n, 1)
		path := w.source(fmt.Sprintf("f%d", n), n)
		id := w.send(path)
		w.wait(id, store.FileSent)
		w.offer(id, store.FileOffered)
		out := filepath.Join(w.dir, fmt.Sprintf("got%d", n))
		if _, err := w.get(id, out); err != nil {
			t.Fatal(err)
		}
		wantFile(t, out, want)
		if f := w.file(id); f.State != store.FileFetched || f.Path != out {
			t.Errorf("%d bytes: %s at %s", n, f.State, f.Path)
		}
		if _, err := w.get(id, out); local.As(err).Code != local.CodeUsage {
			t.Errorf("%d bytes: an existing file: %v", n, err)
		}
		var s taker
		if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(id).String(), Stream: true}, &s, nil); err != nil || !s.closed {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Bytes(), want) {
			t.Errorf("%d bytes: the stream has %d others", n, s.Len())
		}
	}
	if n := w.spooled(); n > 0 {
		t.Errorf("%d parts are left in the spool", n)
	}
}

func TestStreams(t *testing.T) {
	w := newWorld(t)
	w.start()
	p := local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Stream: true, Name: "s"}}}
	for _, n := range edges() {
		want := pattern(n, 2)
		var told atomic.Int64
		out, err := w.s.Send(t.Context(), p, iotest.HalfReader(bytes.NewReader(want)), func(local.FileProgress) { told.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		id := store.MessageID(uuid.MustParse(out.Results[0].ID))
		if f := w.wait(id, store.FileSent); f.Size != int64(n) {
			t.Errorf("%d bytes are sent as %d", n, f.Size)
		}
		if told.Load() == 0 {
			t.Error("nobody told of progress")
		}
		var s taker
		if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(id).String(), Stream: true}, &s, nil); err != nil || !bytes.Equal(s.Bytes(), want) {
			t.Errorf("%d bytes: %d came back, %v", n, s.Len(), err)
		}
	}
	// A stream that breaks off is not sent, and its blob is deleted.
	broken := io.MultiReader(bytes.NewReader(pattern(seal.FilePartPlain+7, 1)), iotest.ErrReader(io.ErrUnexpectedEOF))
	out, err := w.s.Send(t.Context(), p, broken, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := w.wait(store.MessageID(uuid.MustParse(out.Results[0].ID)), store.FileFailed)
	if !strings.HasPrefix(f.Reason, store.ReasonFileStream) {
		t.Errorf("reason %q", f.Reason)
	}
	w.stop()
	w.start()
	w.settled()
}

// settled waits until no transfer is left.
func (w *world) settled() {
	w.t.Helper()
	w.until("transfers are left", func() bool {
		n := 0
		err := w.st.View(context.Background(), func(tx *store.Tx) error {
			ids, err := tx.TransferIDs()
			n = len(ids)
			return err
		})
		return err == nil && n == 0
	})
	w.until("blobs that nobody wants are left", func() bool {
		w.blobs.mu.Lock()
		defer w.blobs.mu.Unlock()
		for _, b := range w.blobs.blobs {
			if !b.complete {
				return false
			}
		}
		return true
	})
	// An upload's row is deleted before its parts.
	w.until("parts are left in the spool", func() bool { return w.spooled() == 0 })
}

// TestUploadGoesOn kills the daemon in each part, before the server has stored it and
// between storing it and the answer. Every part is stored once, under the same key, except
// for parts in flight.
func TestUploadGoesOn(t *testing.T) {
	const parts = 3
	w := newWorld(t)
	path := w.source("f", (parts-1)*seal.FilePartPlain+99)
	var once sync.Map
	kill := make(chan struct{}, 2*parts)
	w.blobs.put = func(ctx context.Context, part int) error {
		if _, was := once.LoadOrStore(part, true); was {
			return nil
		}
		kill <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	w.blobs.stored = func(part int) {
		if _, was := once.LoadOrStore(-part, true); !was {
			kill <- struct{}{}
		}
	}
	w.start()
	id := w.send(path)
	kills := 0
	w.until("the file is not sent", func() bool {
		select {
		case <-kill:
			kills++
			w.stop()
			w.start()
		default:
		}
		return w.file(id).State == store.FileSent
	})
	if kills < 3 {
		t.Errorf("%d kills", kills)
	}
	f := w.file(id)
	w.blobs.mu.Lock()
	for part, n := range w.blobs.puts {
		if n > 2 {
			t.Errorf("part %d was stored %d times", part, n)
		}
	}
	if len(w.blobs.blobs) != 1 {
		t.Errorf("%d blobs", len(w.blobs.blobs))
	}
	w.blobs.mu.Unlock()
	w.blobs.put, w.blobs.stored = nil, nil
	out := filepath.Join(w.dir, "got")
	w.offer(f.ID, store.FileOffered)
	if _, err := w.get(f.ID, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, out, pattern((parts-1)*seal.FilePartPlain+99, 1))
	w.settled()
}

// TestPartThatComesOnceMore: the server receives a part again after it has answered for it,
// as it may from a daemon that was killed. The upload is neither lost nor restarted.
func TestPartThatComesOnceMore(t *testing.T) {
	w := newWorld(t)
	path := w.source("f", seal.FilePartPlain+99)
	w.blobs.late = func(part int) bool { return part == 2 }
	w.start()
	f := w.wait(w.send(path), store.FileSent)
	for part, n := range w.blobs.puts {
		if n > 1 {
			t.Errorf("part %d was sent %d times", part, n)
		}
	}
	if len(w.blobs.blobs) != 1 {
		t.Errorf("%d blobs", len(w.blobs.blobs))
	}
	out := filepath.Join(w.dir, "got")
	w.offer(f.ID, store.FileOffered)
	if _, err := w.get(f.ID, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, out, pattern(seal.FilePartPlain+99, 1))
}

// TestChangedSourceStartsAgain changes a file between two runs of the daemon.
func TestChangedSourceStartsAgain(t *testing.T) {
	const size = 2*seal.FilePartPlain + 9
	for name, change := range map[string]func(path string) error{
		"another content": func(path string) error { return os.WriteFile(path, pattern(size, 7), 0o600) },
		"another size":    func(path string) error { return os.WriteFile(path, pattern(size-1, 7), 0o600) },
		"the same content behind the back": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(path, pattern(size, 7), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the cases are independent
			w := newWorld(t)
			w.spoolParts = 1 // seal at most one part ahead of the server
			path := w.source("f", size)
			stuck := make(chan struct{}, 9)
			w.blobs.put = func(ctx context.Context, part int) error {
				if part == 1 {
					return nil
				}
				stuck <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			w.start()
			id := w.send(path)
			<-stuck
			before := w.plan(id)
			w.stop()
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			w.blobs.put = nil
			w.start()
			defer w.skipWaits()()
			f := w.wait(id, store.FileSent)
			if bytes.Equal(before.Key, f.Key) || before.Blob == f.Blob {
				t.Error("another content goes under the same key, or into the same blob")
			}
			w.offer(id, store.FileOffered)
			out := filepath.Join(w.dir, "got")
			if _, err := w.get(id, out); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, out, want)
			w.settled()
		})
	}
}

func (w *world) plan(id store.MessageID) plan {
	var p plan
	w.update(func(tx *store.Tx) error {
		f, err := tx.File(1, id)
		if err != nil {
			return err
		}
		row, err := tx.Transfer(f.Transfer)
		if err != nil {
			return err
		}
		p, err = decodePlan(row.Body)
		return err
	})
	return p
}

func TestUploadEnds(t *testing.T) {
	w := newWorld(t)
	w.start()
	path := w.source("small", 100)
	for reason, err := range map[string]error{
		store.ReasonFileQuota:    &wire.Error{Code: wire.CodeQuota, Message: "full"},
		store.ReasonFileTooLarge: &wire.Error{Code: wire.CodeTooLarge, Message: "at most 1"},
	} {
		w.blobs.create = func() error { return err }
		if f := w.wait(w.send(path), store.FileFailed); !strings.HasPrefix(f.Reason, reason) {
			t.Errorf("reason %q instead of %s", f.Reason, reason)
		}
	}
	defer w.skipWaits()()
	// The server is unreachable for a while, and its tickets expire.
	tries := 0
	w.blobs.create = func() error {
		if tries++; tries < 2 {
			w.s.Kick()
			return errors.New("no server")
		}
		return nil
	}
	var expired atomic.Bool
	w.blobs.put = func(context.Context, int) error {
		if expired.CompareAndSwap(false, true) {
			return ErrTicket
		}
		return nil
	}
	path = w.source("f", seal.FilePartPlain+1)
	w.wait(w.send(path), store.FileSent)
	// Withdrawn during the upload.
	w.blobs.create = nil
	begun := make(chan struct{}, 9)
	w.blobs.put = func(ctx context.Context, _ int) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	id := w.send(path)
	<-begun
	if _, err := w.CancelFile(t.Context(), uuid.UUID(id).String()); err != nil {
		t.Fatal(err)
	}
	w.s.Kick()
	w.settled()
}

// TestCallerLeaves: the daemon withdraws messages whose caller leaves before the end, but
// not when the daemon itself stops.
func TestCallerLeaves(t *testing.T) {
	w := newWorld(t)
	path := w.source("f", 10)
	w.blobs.put = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	w.start()
	for _, c := range []struct {
		cause error
		state string
	}{{local.ErrCallerLeft, store.FileCancelled}, {context.Canceled, store.FileSending}} {
		cause, state := c.cause, c.state
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan store.MessageID, 1)
		go func() {
			out, err := w.s.Send(ctx, local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Path: path}}}, nil, nil)
			if err != nil || len(out.Results) != 1 {
				t.Error(out, err)
				close(done)
				return
			}
			done <- store.MessageID(uuid.MustParse(out.Results[0].ID))
		}()
		w.until("nothing is sent", func() bool { w.s.mu.Lock(); defer w.s.mu.Unlock(); return len(w.s.watched) > 0 })
		cancel(cause)
		w.wait(<-done, state)
		w.until("it is still watched", func() bool {
			w.s.mu.Lock()
			defer w.s.mu.Unlock()
			return len(w.s.watched) == 0 || state == store.FileSending
		})
	}
}

// TestWithdrawnBeforeItBegan withdraws a queued upload: its watching caller learns that it
// ended.
func TestWithdrawnBeforeItBegan(t *testing.T) {
	w := newWorld(t)
	w.blobs.put = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	w.start()
	for i := range defaultParallel {
		w.send(w.source(fmt.Sprintf("f%d", i), 10))
	}
	w.until("all slots are taken", func() bool { return len(w.s.up) == defaultParallel })
	last := w.send(w.source("last", 10))
	transfer := w.file(last).Transfer
	w.s.mu.Lock()
	watched := w.s.watched[transfer]
	w.s.mu.Unlock()
	if watched == nil {
		t.Fatal("it runs already")
	}
	w.offer(last, store.FileCancelled)
	w.s.Kick()
	select {
	case <-watched.ended:
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
}

// until waits until a condition holds.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		tickOnce()
	}
	w.t.Fatal(what)
}
