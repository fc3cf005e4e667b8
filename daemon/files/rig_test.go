package files

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// templateEnv names a fresh database: copying it is faster than creating one for each test.
const templateEnv = "SECMSG_FILES_TEST_TEMPLATE"

func TestMain(m *testing.M) {
	store.GroupsTwice()
	dir, err := makeTemplate()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func makeTemplate() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "secmsg-files-"); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "db")
	st, err := store.Open(context.Background(), path, store.Options{})
	if err != nil {
		return dir, err
	}
	return dir, errors.Join(st.Close(), os.Setenv(templateEnv, path))
}

// plainBox keeps sealed columns readable.
type plainBox struct{}

func (plainBox) Seal(_, _, _ string, b []byte) ([]byte, error) { return bytes.Clone(b), nil }
func (plainBox) Open(_, _, _ string, b []byte) ([]byte, error) { return bytes.Clone(b), nil }
func (plainBox) Tag(domain string, b []byte) []byte {
	s := sha256.Sum256(append([]byte(domain), b...))
	return s[:]
}

// fakeBlob is a blob in memory.
type fakeBlob struct {
	readers  []string
	parts    map[int]fakePart
	complete bool
	data     []byte
}

type fakePart struct {
	data []byte
	etag string
}

// fakeBlobs is a server in memory that can inject faults.
type fakeBlobs struct {
	mu      sync.Mutex
	n       int
	blobs   map[string]*fakeBlob
	puts    map[int]int // completed puts, by part
	gets    map[int64]int
	deleted []string

	create func() error
	remove func(id string) error
	made   func(ctx context.Context)                 // called after a blob is created, before the answer
	put    func(ctx context.Context, part int) error // called before the part is stored
	stored func(part int)                            // called after the part is stored, before the answer
	get    func(ctx context.Context, offset int64) error
	cut    func(offset int64, n int) int // returns how many of n bytes arrive before the connection breaks; n: it does not break
	bytes  int64                         // bytes fetched
	late   func(part int) bool           // whether the part arrives again later, with another ETag
	again  map[string]string             // the new ETags of such parts, by their first ETag
}

func newBlobs() *fakeBlobs {
	return &fakeBlobs{blobs: map[string]*fakeBlob{}, puts: map[int]int{}, gets: map[int64]int{}, again: map[string]string{}}
}

func notFound() error { return &wire.Error{Code: wire.CodeNotFound, Message: "no such blob"} }

func (f *fakeBlobs) CreateBlob(ctx context.Context, b wire.CreateBlob) (wire.Blob, error) {
	if f.made != nil {
		defer f.made(ctx)
	}
	if f.create != nil {
		if err := f.create(); err != nil {
			return wire.Blob{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	id := fmt.Sprintf("blob%d", f.n)
	f.blobs[id] = &fakeBlob{readers: b.Readers, parts: map[int]fakePart{}}
	return wire.Blob{ID: id, MaxSize: 1 << 30}, nil
}

func (f *fakeBlobs) BlobTickets(_ context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blobs[id] == nil {
		return nil, notFound()
	}
	var out []wire.BlobTicket
	for _, p := range parts {
		out = append(out, wire.BlobTicket{Number: p.Number, URL: id})
	}
	return out, nil
}

func (f *fakeBlobs) PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (string, error) {
	if f.put != nil {
		if err := f.put(ctx, t.Number); err != nil {
			return "", err
		}
	}
	b := make([]byte, size)
	if _, err := content.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	tag := etag(b)
	f.mu.Lock()
	blob := f.blobs[t.URL]
	if blob == nil {
		f.mu.Unlock()
		return "", notFound()
	}
	blob.parts[t.Number] = fakePart{b, tag}
	f.puts[t.Number]++
	f.mu.Unlock()
	if f.stored != nil {
		f.stored(t.Number)
	}
	if f.late != nil && f.late(t.Number) {
		f.mu.Lock()
		f.again[tag] = "late-" + tag
		f.mu.Unlock()
	}
	return tag, ctx.Err()
}

// tag returns the present ETag of a part.
func (f *fakeBlobs) tag(p fakePart) string { return cmp.Or(f.again[p.etag], p.etag) }

func etag(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

func (f *fakeBlobs) CompleteBlob(_ context.Context, id string, parts []wire.BlobPart) (wire.Blob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	blob := f.blobs[id]
	if blob == nil {
		return wire.Blob{}, notFound()
	}
	var all [][]byte
	for i, p := range parts {
		if p.Number != i+1 || f.tag(blob.parts[p.Number]) != p.ETag {
			return wire.Blob{}, &wire.Error{Code: wire.CodeConflict, Message: "another part"}
		}
		all = append(all, blob.parts[p.Number].data)
	}
	blob.data, blob.complete = bytes.Join(all, nil), true
	return wire.Blob{ID: id, Complete: true, Size: int64(len(blob.data))}, nil
}

func (f *fakeBlobs) GetBlob(_ context.Context, id string) (wire.Blob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	blob := f.blobs[id]
	if blob == nil {
		return wire.Blob{}, notFound()
	}
	out := wire.Blob{ID: id, Complete: blob.complete}
	for n := 1; n <= len(blob.parts)+10; n++ {
		if p, ok := blob.parts[n]; ok {
			out.Parts = append(out.Parts, wire.BlobPart{Number: n, Size: int64(len(p.data)), ETag: f.tag(p)})
		}
	}
	return out, nil
}

func (f *fakeBlobs) DeleteBlob(_ context.Context, id string) error {
	if f.remove != nil {
		if err := f.remove(id); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blobs, id)
	f.deleted = append(f.deleted, id)
	return nil
}

func (f *fakeBlobs) DownloadBlob(_ context.Context, id string) (wire.BlobDownload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	blob := f.blobs[id]
	if blob == nil || !blob.complete {
		return wire.BlobDownload{}, notFound()
	}
	return wire.BlobDownload{Ticket: wire.BlobTicket{URL: id}, Size: int64(len(blob.data))}, nil
}

func (f *fakeBlobs) GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error) {
	if f.get != nil {
		if err := f.get(ctx, offset); err != nil {
			return 0, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	blob := f.blobs[t.URL]
	if blob == nil || offset+int64(len(dst)) > int64(len(blob.data)) {
		return 0, notFound()
	}
	f.gets[offset]++
	n := len(dst)
	if f.cut != nil {
		n = f.cut(offset, n)
	}
	copy(dst[:n], blob.data[offset:])
	f.bytes += int64(n)
	if n < len(dst) {
		return n, errors.New("the connection broke")
	}
	return n, ctx.Err()
}

// world is one account: a store that outlives its services, with a fake engine on the same
// rows.
type world struct {
	t     *testing.T
	st    *store.Store
	blobs *fakeBlobs
	dir   string
	peer  store.PeerID

	spoolParts int

	s      *Service
	cancel context.CancelFunc
	done   chan struct{}
}

func newWorld(t *testing.T) *world {
	dir, err := os.MkdirTemp("/dev/shm", "secmsg-files-")
	if err != nil {
		dir = t.TempDir()
	}
	w := &world{t: t, blobs: newBlobs(), dir: dir}
	template, err := os.ReadFile(os.Getenv(templateEnv))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "db"), template, 0o600); err != nil {
		t.Fatal(err)
	}
	if w.st, err = store.Open(t.Context(), filepath.Join(dir, "db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	w.st.SetBox(plainBox{})
	w.update(func(tx *store.Tx) (err error) {
		if id, err := tx.NewAccount(store.Account{Address: "alice@x.example", Device: [16]byte{1}}); err != nil || id != 1 {
			return fmt.Errorf("account %d, %w", id, err)
		}
		w.peer, err = tx.Peer(1, "bob@x.example")
		return err
	})
	w.relate(store.RelationContact)
	t.Cleanup(func() {
		w.stop()
		if err := errors.Join(w.st.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.st.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// relate sets the peer's relation.
func (w *world) relate(r store.Relation) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		c, err := tx.Contact(1, w.peer)
		if err != nil {
			return err
		}
		c.Relation = r
		return tx.SaveContact(c)
	})
}

// start starts a service, as a daemon does.
func (w *world) start() {
	w.s = New(Options{Account: 1, Store: w.st, Blobs: w.blobs, Engine: w, Spool: filepath.Join(w.dir, "spool"),
		Downloads: filepath.Join(w.dir, "downloads"), SpoolParts: w.spoolParts, Logger: slog.New(slog.DiscardHandler)})
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		if err := w.s.Run(ctx); !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	}()
}

// stop ends the service at once. State that is not durable is lost.
func (w *world) stop() {
	if w.cancel != nil {
		w.cancel()
		<-w.done
		w.cancel = nil
	}
}

// skipWaits removes the delays between retries of the running service, until the returned
// function is called.
func (w *world) skipWaits() (end func()) {
	s, over := w.s, make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Reached()
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		wg.Wait()
	}
}

// source writes a file of n bytes that do not repeat by chunk or part.
func (w *world) source(name string, n int) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, pattern(n, 1), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// pattern repeats with a period that divides no chunk or part.
func pattern(n int, seed byte) []byte {
	const period = 65_521
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range min(n, period) {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	for done := period; done < n; done *= 2 {
		copy(b[done:], b[:done])
	}
	return b
}

func (w *world) send(path string) store.MessageID {
	w.t.Helper()
	out, err := w.s.Send(w.t.Context(), local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{{Path: path}}, Wait: waitQueued}, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return store.MessageID(uuid.MustParse(out.Results[0].ID))
}

func (w *world) file(id store.MessageID) *store.File {
	w.t.Helper()
	var f *store.File
	err := w.st.View(context.Background(), func(tx *store.Tx) (err error) {
		f, err = tx.File(1, id)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// wait waits until the store has the file in a state.
func (w *world) wait(id store.MessageID, state string) *store.File {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		f := w.file(id)
		if f.State == state {
			return f
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("the file is %s (%s), not %s", f.State, f.Reason, state)
		}
	}
}

// offer turns a sent file into a received one: both ends of a transfer share one store
// here.
func (w *world) offer(id store.MessageID, state string) {
	w.update(func(tx *store.Tx) error {
		f, err := tx.File(1, id)
		if err != nil {
			return err
		}
		f.State = state
		return tx.SaveFile(f)
	})
}

func (w *world) spooled() int {
	list, err := os.ReadDir(filepath.Join(w.dir, "spool"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return len(list)
}

// The fake engine, on the same rows.

func (w *world) QueueFiles(ctx context.Context, p local.FileSendParams, files []store.FileDetails, plans [][]byte, _ []byte) (store.QueuedFiles, error) {
	var q store.QueuedFiles
	err := w.st.Update(ctx, func(tx *store.Tx) error {
		for i, d := range files {
			t := &store.Transfer{Account: 1, Kind: store.TransferUpload, Body: plans[i]}
			if err := tx.InsertTransfer(t); err != nil {
				return err
			}
			id := store.MessageID(uuid.Must(uuid.NewV7()))
			if err := tx.InsertMessage(&store.Message{Account: 1, ID: id, Peer: w.peer, Direction: store.Out, Device: make([]byte, 16), State: local.StateQueued, Body: []byte{}}); err != nil {
				return err
			}
			f := &store.File{Account: 1, ID: id, Message: id, Peer: w.peer, Direction: store.Out, State: store.FileSending, Transfer: t.ID, FileDetails: d}
			if err := tx.InsertFile(f); err != nil {
				return err
			}
			q.Messages, q.Transfers = append(q.Messages, id), append(q.Transfers, t.ID)
		}
		return nil
	})
	return q, err
}

func (w *world) each(ctx context.Context, transfer int64, fn func(f *store.File), more ...func(tx *store.Tx) error) error {
	return w.st.Update(ctx, func(tx *store.Tx) error {
		list, err := tx.FilesByTransfer(1, transfer)
		if err != nil {
			return err
		}
		for i := range list {
			fn(&list[i])
			if err := tx.SaveFile(&list[i]); err != nil {
				return err
			}
		}
		for _, do := range more {
			if err := do(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// FileUploaded is one transaction, as in the engine: a scan in between would find an upload
// without messages and delete its blob.
func (w *world) FileUploaded(ctx context.Context, transfer int64, u store.UploadedFile) error {
	return w.each(ctx, transfer, func(f *store.File) {
		f.State, f.Blob, f.Key, f.Size, f.SHA256 = store.FileSent, u.Blob, u.Key, u.Size, u.SHA256
	}, func(tx *store.Tx) error { return tx.DeleteTransfer(transfer) })
}

func (w *world) UploadFailed(ctx context.Context, transfer int64, reason, text string) error {
	return w.each(ctx, transfer, func(f *store.File) { f.State, f.Reason = store.FileFailed, reason+": "+text })
}

func (w *world) set(ctx context.Context, id store.MessageID, transfer int64, fn func(f *store.File)) error {
	return w.st.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.File(1, id)
		if err != nil {
			return err
		}
		fn(f)
		if transfer > 0 {
			if err := tx.DeleteTransfer(transfer); err != nil {
				return err
			}
		}
		return tx.SaveFile(f)
	})
}

func (w *world) FileFetched(ctx context.Context, id store.MessageID, path string, transfer int64) error {
	return w.set(ctx, id, transfer, func(f *store.File) { f.State, f.Path = store.FileFetched, path })
}

func (w *world) FetchFailed(ctx context.Context, id store.MessageID, state, text string, transfer int64) error {
	return w.set(ctx, id, transfer, func(f *store.File) { f.State, f.Reason = state, text })
}

func (w *world) CancelFile(ctx context.Context, id string) (local.SendResult, error) {
	return local.SendResult{}, w.set(ctx, store.MessageID(uuid.MustParse(id)), 0, func(f *store.File) { f.State = store.FileCancelled })
}

// AwaitFiles waits for the upload.
func (w *world) AwaitFiles(ctx context.Context, ids []store.MessageID, p local.FileSendParams) (local.SendResults, error) {
	var out local.SendResults
	for _, id := range ids {
		if p.Wait != waitQueued {
			tick := time.NewTicker(5 * time.Millisecond)
			for ctx.Err() == nil && w.file(id).State == store.FileSending {
				<-tick.C
			}
			tick.Stop()
		}
		out.Results = append(out.Results, local.SendResult{ID: uuid.UUID(id).String(), State: w.file(id).State})
	}
	return out, nil
}

// edges are sizes at the boundaries of the format.
func edges() []int {
	return []int{0, 1, seal.FileChunkSize - 1, seal.FileChunkSize, seal.FileChunkSize + 1,
		seal.FilePartPlain - 1, seal.FilePartPlain, seal.FilePartPlain + 1, 2*seal.FilePartPlain + 5}
}

// tickOnce waits for one tick of the clock.
func tickOnce() {
	t := time.NewTimer(5 * time.Millisecond)
	<-t.C
}
