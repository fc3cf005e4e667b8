package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// offered uploads n bytes and offers the file to the same account.
func (w *world) offered(name string, n int) *store.File {
	w.t.Helper()
	id := w.send(w.source(name, n))
	w.wait(id, store.FileSent)
	w.offer(id, store.FileOffered)
	return w.file(id)
}

// TestChangedBlobD4 lets the server change a blob, in every way that keeps its length and
// in some that do not (D9, D11 in crypto/ATTACKS.md). Nothing ever appears under the final
// name or beside it.
func TestChangedBlobD4(t *testing.T) {
	w := newWorld(t)
	w.start()
	const small, large = 3*seal.FileChunkSize + 77, seal.FilePartPlain + 77
	other := w.offered("other", small)
	for name, change := range map[string]func(b *fakeBlob){
		"the first byte":     func(b *fakeBlob) { b.data[0] ^= 1 },
		"the commitment":     func(b *fakeBlob) { b.data[1] ^= 1 },
		"a chunk":            func(b *fakeBlob) { b.data[2*seal.FileChunkSize] ^= 1 },
		"the last byte":      func(b *fakeBlob) { b.data[len(b.data)-1] ^= 1 },
		"one byte less":      func(b *fakeBlob) { b.data = b.data[:len(b.data)-1] },
		"one byte more":      func(b *fakeBlob) { b.data = append(b.data, 0) },
		"ten times as much":  func(b *fakeBlob) { b.data = bytes.Repeat(b.data, 10) },
		"nothing":            func(b *fakeBlob) { b.data = nil },
		"another's blob D11": func(b *fakeBlob) { b.data = bytes.Clone(w.blobs.blobs[other.Blob].data) },
		"two chunks swapped": func(b *fakeBlob) {
			c := seal.FileChunkSize + seal.TagSize
			x, y := b.data[seal.FileHeaderSize:][:c], b.data[seal.FileHeaderSize+c:][:c]
			z := bytes.Clone(x)
			copy(x, y)
			copy(y, z)
		},
	} {
		t.Run(name, func(t *testing.T) {
			size := small
			if name == "the last byte" {
				size = large // so that each change is in another part
			}
			f := w.offered("f", size)
			w.blobs.mu.Lock()
			b := w.blobs.blobs[f.Blob]
			good := bytes.Clone(b.data)
			change(b)
			w.blobs.mu.Unlock()
			dir := t.TempDir()
			_, err := w.get(f.ID, filepath.Join(dir, "x"))
			if e := local.As(err); e.Code != local.CodeIO || e.Retryable {
				t.Errorf("error %v", err)
			}
			nothingIn(t, dir)
			if now := w.file(f.ID); now.State != store.FileFailed || now.Reason != textBadContent {
				t.Errorf("the file is %s: %s", now.State, now.Reason)
			}
			var s taker
			if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(f.ID).String(), Stream: true}, &s, nil); err == nil || s.closed {
				t.Errorf("the stream ended well: %v", err)
			}
			if !bytes.HasPrefix(pattern(size, 1), s.Bytes()) {
				t.Error("the stream has bytes that were not sent")
			}
			// Now the server sends the right content.
			w.blobs.mu.Lock()
			b.data = good
			w.blobs.mu.Unlock()
			if _, err := w.get(f.ID, filepath.Join(dir, "x")); err != nil {
				t.Error(err)
			}
		})
	}
	f := w.offered("g", 5)
	delete(w.blobs.blobs, f.Blob)
	dir := t.TempDir()
	if _, err := w.get(f.ID, dir); local.As(err).Code != local.CodeNotFound {
		t.Errorf("a blob that is gone: %v", err)
	}
	nothingIn(t, dir)
}

// TestDigestIsChecked serves another file sealed under the same key, which only the sender
// could have made: it decrypts, but has another digest.
func TestDigestIsChecked(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 100)
	c, err := cipherOf(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	old, err := c.SealPart(nil, pattern(100, 9), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	w.blobs.blobs[f.Blob].data = old
	dir := t.TempDir()
	if _, err := w.get(f.ID, dir); local.As(err).Code != local.CodeIO {
		t.Errorf("error %v", err)
	}
	nothingIn(t, dir)
}

// TestFetchGoesOn kills the daemon during a fetch. The next one continues after the durable
// parts.
func TestFetchGoesOn(t *testing.T) {
	const parts = 3
	w := newWorld(t)
	w.start()
	f := w.offered("f", (parts-1)*seal.FilePartPlain+3)
	out := filepath.Join(w.dir, "got")
	for n := 1; n < parts; n++ {
		at, _, err := seal.SealedPart(n+1, int64(len(w.blobs.blobs[f.Blob].data)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w.blobs.get = func(ctx context.Context, offset int64) error {
			if offset < at {
				return nil
			}
			w.until("nothing is durable", func() bool { return w.durable(f.ID) >= n || ctx.Err() != nil })
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		_, err = w.s.Get(ctx, local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: out}, nil, nil)
		if err == nil {
			t.Fatal("it was not interrupted")
		}
		if _, err := os.Lstat(out); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the final name: %v", err)
		}
		w.stop()
		w.start()
	}
	w.blobs.get = nil
	if _, err := w.get(f.ID, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, out, pattern((parts-1)*seal.FilePartPlain+3, 1))
	for offset, n := range w.blobs.gets {
		if n > 1 {
			t.Errorf("the part at %d was fetched %d times", offset, n)
		}
	}
	w.settled()
}

// TestBrokenRange breaks each connection in the middle of the remaining range: no byte is
// fetched twice.
func TestBrokenRange(t *testing.T) {
	w := newWorld(t)
	w.start()
	const size = seal.FilePartPlain + seal.FilePartPlain/2
	f := w.offered("f", size)
	broken := map[int64]bool{}
	w.blobs.cut = func(offset int64, n int) int {
		if broken[offset] || n < seal.FilePartPlain/16 {
			return n
		}
		broken[offset] = true
		return n / 2
	}
	defer w.skipWaits()()
	out := filepath.Join(w.dir, "got")
	if _, err := w.get(f.ID, out); err != nil {
		t.Fatal(err)
	}
	wantFile(t, out, pattern(size, 1))
	if sealed := int64(len(w.blobs.blobs[f.Blob].data)); w.blobs.bytes != sealed || len(broken) < 6 {
		t.Errorf("%d bytes were fetched of %d, over %d broken connections", w.blobs.bytes, sealed, len(broken))
	}
}

// durable returns the number of durable parts of a download.
func (w *world) durable(id store.MessageID) int {
	n := 0
	err := w.st.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.TransfersOf(1, id)
		for _, r := range rows {
			t, err := decodeTarget(r.Body)
			if err != nil {
				return err
			}
			n = max(n, t.Parts)
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	return n
}

// TestKilledBeforeTheEnd ends the daemon after it renamed the file and before it recorded
// that: the file is not saved twice.
func TestKilledBeforeTheEnd(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	dir := t.TempDir()
	target, root, err := chooseTarget(where{path: dir}, "f")
	if err == nil {
		err = root.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	target.Final = "f"
	for _, left := range []bool{false, true} { // with and without the temporary name
		if err := os.WriteFile(filepath.Join(dir, "f"), pattern(10, 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, target.Inode, err = local.PathIdentity(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error {
			row, err := target.row(1, f.ID, 0)
			if err != nil {
				return err
			}
			return tx.InsertTransfer(row)
		})
		if left {
			if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, target.Temp)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.get(f.ID, dir)
		if err != nil || got.Path != filepath.Join(dir, "f") {
			t.Errorf("saved as %s, %v", got.Path, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
	}
	// Same name and size and no temporary file, but not the fetched file.
	other := pattern(10, 2)
	target.Overwrite, target.Exact = true, true
	w.update(func(tx *store.Tx) error {
		row, err := target.row(1, f.ID, 0)
		if err != nil {
			return err
		}
		return tx.InsertTransfer(row)
	})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "g"), other, 0o600), os.Rename(filepath.Join(dir, "g"), filepath.Join(dir, "f"))); err != nil {
		t.Fatal(err)
	}
	got, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: dir, Overwrite: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, got.Path, pattern(10, 1))
	w.settled()
}

// TestTargetsD7 checks where files go, and which files are never touched.
func TestTargetsD7(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	dir := t.TempDir()
	for i, want := range []string{"f", "f (1)", "f (2)"} {
		got, err := w.get(f.ID, dir)
		if err != nil || got.Path != filepath.Join(dir, want) {
			t.Errorf("%d: %s, %v", i, got.Path, err)
		}
	}
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{victim, link, filepath.Join(dir, "none", "x"), filepath.Join(dir, "none") + "/", "relative"} {
		if _, err := w.get(f.ID, path); local.As(err).Code != local.CodeUsage {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: link, Overwrite: true}, nil, nil); err != nil {
		t.Error(err)
	}
	wantFile(t, link, pattern(10, 1))
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" {
		t.Errorf("behind the link: %q, %v", b, err)
	}
	if info, err := os.Lstat(link); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link was not replaced: %v, %v", info, err)
	}
}

func TestUnaskedFetch(t *testing.T) {
	w := newWorld(t)
	var away atomic.Bool
	w.blobs.get = func(context.Context, int64) error {
		if away.CompareAndSwap(true, false) {
			w.s.Reached()
			return errors.New("no server")
		}
		return nil
	}
	w.start()
	var list []*store.File
	for i := range 20 {
		list = append(list, w.offered(fmt.Sprintf("f%d", i), i))
	}
	away.Store(true)
	for _, f := range list {
		w.offer(f.ID, store.FileFetching)
	}
	w.s.Kick()
	for i, f := range list {
		now := w.wait(f.ID, store.FileFetched)
		wantFile(t, now.Path, pattern(i, 1))
	}
	if names, err := os.ReadDir(filepath.Join(w.dir, "downloads")); err != nil || len(names) != len(list) {
		t.Errorf("%d files, %v", len(names), err)
	}
	w.settled()
}

// TestBlockedMeanwhile checks that nothing is fetched automatically from a peer who was
// blocked after the fetch was decided, and that a stranger's file can only be fetched once
// the stranger is a contact.
func TestBlockedMeanwhile(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	w.blobs.get = func(context.Context, int64) error {
		asked.Add(1)
		return nil
	}
	w.start()
	f := w.offered("f", 10)
	w.relate(store.RelationBlocked)
	w.offer(f.ID, store.FileFetching)
	w.s.Kick()
	w.until("it was looked at", func() bool {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		return w.s.paused[f.ID].tries > 0
	})
	if asked.Load() != 0 {
		t.Error("a blocked peer's file was fetched")
	}
	w.relate(store.RelationContact)
	w.s.Reached()
	w.wait(f.ID, store.FileFetched)

	id := store.MessageID(uuid.Must(uuid.NewV7()))
	w.update(func(tx *store.Tx) error {
		m := &store.Message{Account: 1, ID: id, Peer: w.peer, Direction: store.In, Device: make([]byte, 16), Request: true, Body: []byte{}}
		now, err := tx.File(1, f.ID)
		if err != nil {
			return err
		}
		now.ID, now.Message, now.Direction, now.State = id, id, store.In, store.FileOffered
		return errors.Join(tx.InsertMessage(m), tx.InsertFile(now))
	})
	w.relate(store.RelationNone)
	if _, err := w.get(id, t.TempDir()); local.As(err).Code != local.CodeUsage {
		t.Errorf("a stranger's: %v", err)
	}
	w.relate(store.RelationContact)
	if _, err := w.get(id, t.TempDir()); err != nil {
		t.Errorf("a contact's: %v", err)
	}
}

func TestGetWaits(t *testing.T) {
	w := newWorld(t)
	w.start()
	unknown := uuid.Must(uuid.NewV7()).String()
	_, err := w.s.Get(t.Context(), local.FileGetParams{ID: unknown, Stream: true}, new(taker), nil)
	if local.As(err).Code != local.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
	_, err = w.s.Get(t.Context(), local.FileGetParams{ID: unknown, Stream: true, Wait: true, Timeout: 0.05}, new(taker), nil)
	if local.As(err).Code != local.CodeTimeout {
		t.Errorf("unknown, waiting: %v", err)
	}
	gate := make(chan struct{})
	w.blobs.put = func(context.Context, int) error { <-gate; return nil }
	id := w.send(w.source("f", 5))
	done := make(chan error, 1)
	go func() {
		_, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(id).String(), Path: w.dir, Wait: true}, nil, nil)
		done <- err
	}()
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCollect(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", seal.FilePartPlain+7)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	w.blobs.get = func(ctx context.Context, offset int64) error {
		if offset > 0 {
			w.until("nothing is durable", func() bool { return w.durable(f.ID) > 0 })
			cancel()
			<-ctx.Done()
		}
		return ctx.Err()
	}
	if _, err := w.s.Get(ctx, local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: dir}, nil, nil); err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := os.MkdirAll(filepath.Join(w.dir, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "spool", "1.1"), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := w.s.Collect(t.Context())
	if err != nil || out.Files != 2 || out.Bytes != seal.FilePartPlain+4 {
		t.Errorf("%+v, %v", out, err)
	}
	nothingIn(t, dir)
	w.settled()
}

// TestCollectsByItself checks the automatic collection: it removes parts without an upload
// and old interrupted downloads, but not recent ones. Removing an account leaves nothing.
func TestCollectsByItself(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	dir := t.TempDir()
	var temps []string
	stop := func(created int64) {
		at, root, err := chooseTarget(where{path: dir}, "f")
		if err == nil {
			err = root.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error {
			row, err := at.row(1, f.ID, created)
			if err != nil {
				return err
			}
			return tx.InsertTransfer(row)
		})
		if err := os.WriteFile(filepath.Join(dir, at.Temp), []byte("part"), 0o600); err != nil {
			t.Fatal(err)
		}
		temps = append(temps, at.Temp)
	}
	now := w.st.ProfileTime().UnixMilli()
	stop(now - downloadKept.Milliseconds() - 1)
	stop(now - downloadKept.Milliseconds()/2)
	orphan := filepath.Join(w.dir, "spool", "99.1")
	if err := errors.Join(os.MkdirAll(filepath.Dir(orphan), 0o700), os.WriteFile(orphan, []byte("left"), 0o600)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start()
	w.until("the orphan is gone", func() bool {
		_, err := os.Lstat(orphan)
		return errors.Is(err, os.ErrNotExist)
	})
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 || list[0].Name() != temps[1] {
		t.Errorf("%v, %v", list, err)
	}
	w.blobs.create = func() error { return errors.New("no server") }
	w.send(w.source("up", 5))
	w.until("it is sealed", func() bool { return w.spooled() == 1 })
	w.stop()
	if err := w.s.Forget(t.Context()); err != nil {
		t.Error(err)
	}
	nothingIn(t, dir)
	if n := w.spooled(); n > 0 {
		t.Errorf("%d parts are left", n)
	}
}
