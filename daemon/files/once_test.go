package files

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// readFunc implements io.Reader.
type readFunc func(b []byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func streamTo(name string) local.FileSendParams {
	return local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Stream: true, Name: name}}}
}

// TestStreamIsSentFromItsBeginning lets the store refuse to save the blob's id after a part
// of the stream has been read. That part is neither lost nor sealed as another part.
func TestStreamIsSentFromItsBeginning(t *testing.T) {
	w := newWorld(t)
	w.start()
	want := pattern(seal.FilePartPlain+7, 3)
	refused, unlocked := make(chan struct{}), make(chan struct{})
	w.blobs.create = sync.OnceValue(func() error {
		w.st.SetBox(nil)
		close(refused)
		return nil
	})
	left := want
	stream := readFunc(func(b []byte) (int, error) {
		if len(left) == 7 {
			<-unlocked
		}
		if len(left) == 0 {
			return 0, io.EOF
		}
		if len(left) > 7 {
			b = b[:min(len(b), len(left)-7)]
		}
		n := copy(b, left)
		left = left[n:]
		return n, nil
	})
	go func() {
		<-refused
		for range 20 {
			tickOnce()
		}
		w.st.SetBox(plainBox{})
		close(unlocked)
	}()
	out, err := w.s.Send(t.Context(), streamTo("s"), stream, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.wait(store.MessageID(uuid.MustParse(out.Results[0].ID)), store.FileSent)
	var s taker
	if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: out.Results[0].ID, Stream: true}, &s, nil); err != nil || !bytes.Equal(s.Bytes(), want) {
		t.Errorf("%d bytes of %d came, %v", s.Len(), len(want), err)
	}
}

// TestStreamIsTakenOnce checks that no second attempt continues reading the stream: it
// would seal the middle as the beginning, under the same key.
func TestStreamIsTakenOnce(t *testing.T) {
	u := &upload{plan: newPlan(source{}, -1, 0), stream: newLiveStream(bytes.NewReader(pattern(100, 1)))}
	if _, err := u.openInput(t.Context(), mark{}); err != nil {
		t.Fatal(err)
	}
	if _, err := u.openInput(t.Context(), mark{}); err == nil {
		t.Error("taken twice")
	}
}

// TestIdleStreamEnds ends uploads whose caller writes nothing: the server refuses one, the
// user withdraws the other. The caller learns that at once.
func TestIdleStreamEnds(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		w := newWorld(t)
		w.start()
		created := make(chan struct{}, 1)
		w.blobs.create = func() error {
			created <- struct{}{}
			if withdrawn {
				return nil
			}
			return &wire.Error{Code: wire.CodeQuota, Message: "full"}
		}
		r, idle := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := w.s.Send(context.Background(), streamTo("idle"), r, nil)
			ended <- err
		}()
		<-created
		if withdrawn {
			w.update(func(tx *store.Tx) error {
				list, err := tx.Files(1, 0, 1)
				if err != nil {
					return err
				}
				list[0].State = store.FileCancelled
				return tx.SaveFile(&list[0])
			})
			w.s.Kick()
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("withdrawn %t: the sender waits", withdrawn)
		}
		if err := idle.Close(); err != nil {
			t.Error(err)
		}
		w.settled()
	}
}

// TestWithdrawnWhileItBegins withdraws an upload when the server has just created its blob
// and no row has its id yet: the blob is deleted.
func TestWithdrawnWhileItBegins(t *testing.T) {
	w := newWorld(t)
	w.start()
	var id store.MessageID
	w.blobs.made = func(ctx context.Context) {
		w.update(func(tx *store.Tx) error {
			list, err := tx.Files(1, 0, 1)
			if err != nil {
				return err
			}
			id = list[0].ID
			list[0].State = store.FileCancelled
			return tx.SaveFile(&list[0])
		})
		w.s.Kick()
		<-ctx.Done()
	}
	w.send(w.source("f", 2*seal.FilePartPlain))
	w.settled()
	if len(w.blobs.deleted) != 1 || w.file(id).State != store.FileCancelled {
		t.Errorf("deleted: %v", w.blobs.deleted)
	}
}

// A blob that is recorded in its upload's plan is not deleted.
func TestNotedBlobStays(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.blobs.put = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	f := w.file(w.send(w.source("f", 2*seal.FilePartPlain)))
	noted := func() (blob string) {
		w.update(func(tx *store.Tx) error {
			row, err := tx.Transfer(f.Transfer)
			if err != nil {
				return err
			}
			p, err := decodePlan(row.Body)
			blob = p.Blob
			return err
		})
		return blob
	}
	w.until("no blob is noted", func() bool { return noted() != "" })
	deletes := func() (n int) {
		w.update(func(tx *store.Tx) error {
			list, err := tx.Transfers(1, store.TransferDelete, 0, 10)
			n = len(list)
			return err
		})
		return n
	}
	w.stop()
	if err := w.s.deleteUnrecorded(t.Context(), f.Transfer, noted()); err != nil || deletes() != 0 {
		t.Errorf("the blob that is noted: %d are to be deleted (%v)", deletes(), err)
	}
	if err := w.s.deleteUnrecorded(t.Context(), f.Transfer, "another"); err != nil || deletes() != 1 {
		t.Errorf("another blob: %d are to be deleted (%v)", deletes(), err)
	}
}

// TestPartIsSealedOnce changes the content of a source, but not its size and time, after
// the last recorded part, where one more part is already sealed. The upload then uses
// another key. If the source did not change and a crash left only the beginning of a part,
// the upload continues under the same key.
func TestPartIsSealedOnce(t *testing.T) {
	for _, changed := range []bool{false, true} {
		w := newWorld(t)
		w.start()
		w.blobs.put = func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}
		path := w.source("f", 2*seal.FilePartPlain+5)
		id := w.send(path)
		w.until("all is sealed", func() bool { return w.recorded(id) == 3 })
		w.stop()
		key := w.plan(id).Key
		transfer := w.file(id).Transfer
		w.update(func(tx *store.Tx) error { // the daemon was killed before it recorded two parts
			parts, err := tx.Parts(transfer)
			if err != nil {
				return err
			}
			if err := tx.DeleteParts(transfer); err != nil {
				return err
			}
			first := parts[0]
			first.Body = w.markBehind(path, key)
			return tx.PutPart(&first)
		})
		spool := spool{filepath.Join(w.dir, "spool")}
		if err := os.Truncate(spool.path(transfer, 2), 1<<20); err != nil {
			t.Fatal(err)
		}
		want := pattern(2*seal.FilePartPlain+5, 1)
		if changed {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			want[seal.FilePartPlain+100] ^= 1
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
		w.blobs.put = nil
		w.start()
		f := w.wait(id, store.FileSent)
		if same := bytes.Equal(f.Key, key); same == changed {
			t.Errorf("changed %t: the same key %t", changed, same)
		}
		var s taker
		if _, err := w.s.Get(t.Context(), local.FileGetParams{ID: uuid.UUID(id).String(), Stream: true}, &s, nil); err != nil || !bytes.Equal(s.Bytes(), want) {
			t.Errorf("changed %t: %d bytes came, %v", changed, s.Len(), err)
		}
		w.stop()
		if n := w.spooled(); n > 0 {
			t.Errorf("%d parts are left in the spool", n)
		}
	}
}

// recorded returns the number of recorded parts of an upload.
func (w *world) recorded(id store.MessageID) int {
	n := 0
	err := w.st.View(context.Background(), func(tx *store.Tx) error {
		f, err := tx.File(1, id)
		if err != nil {
			return err
		}
		parts, err := tx.Parts(f.Transfer)
		n = len(parts)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// markBehind returns the body of the row of a source's first part.
func (w *world) markBehind(path string, fileKey []byte) []byte {
	w.t.Helper()
	plain, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := cipherOf(fileKey)
	if err != nil {
		w.t.Fatal(err)
	}
	sealed, err := c.SealPart(nil, plain[:seal.FilePartPlain], 1, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return markOf(w.t, sealed, seal.FilePartPlain)
}

// TestTwoFetchAtOnce lets several callers fetch one file into one directory: each gets all
// of it under its own name, and nothing else is left.
func TestTwoFetchAtOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	const n = seal.FilePartPlain + 9
	f := w.offered("f", n)
	dir := t.TempDir()
	const callers = 4
	paths := make(chan string, callers)
	for range callers {
		go func() {
			got, err := w.get(f.ID, dir)
			if err != nil {
				t.Error(err)
			}
			paths <- got.Path
		}()
	}
	seen := make(map[string]bool)
	for range callers {
		path := <-paths
		wantFile(t, path, pattern(n, 1))
		seen[path] = true
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != len(seen) {
		t.Errorf("%v for %d names, %v", list, len(seen), err)
	}
	w.settled()
}

// TestRowsOfDownloadsAreClaimed begins the same download many times concurrently: no two
// calls share a row, and with it a temporary file.
func TestRowsOfDownloadsAreClaimed(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	dir := t.TempDir()
	const callers = 8
	ids := make(chan int64, callers)
	for range callers {
		go func() {
			at, root, err := chooseTarget(where{path: dir}, "f")
			if err == nil {
				err = root.Close()
			}
			if err != nil {
				t.Error(err)
			}
			d, err := w.s.begin(t.Context(), f, at, root)
			if err != nil {
				t.Error(err)
				ids <- 0
				return
			}
			ids <- d.id
		}()
	}
	seen := make(map[int64]bool)
	for range callers {
		id := <-ids
		if seen[id] {
			t.Errorf("row %d belongs to two", id)
		}
		seen[id] = true
	}
	// A row that its last owner has finished cannot be taken over.
	for id := range seen {
		w.s.unclaim(id)
		w.update(func(tx *store.Tx) error { return tx.DeleteTransfer(id) })
		if ok, err := w.s.takeOver(t.Context(), id, new(save)); ok || err != nil || !w.s.claim(id) {
			t.Errorf("a row that is gone: %t, %v", ok, err)
		}
	}
}

func markOf(t *testing.T, sealed []byte, offset int64) []byte {
	t.Helper()
	sum, err := loadHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	sum.Write(sealed)
	state, err := saveHash(sum)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(mark{Offset: offset, Sealed: state})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
