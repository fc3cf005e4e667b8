package files

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// sendSources sends without waiting and returns the ids of the files.
func (w *world) sendSources(sources ...local.FileSource) []store.MessageID {
	w.t.Helper()
	out, err := w.s.Send(w.t.Context(), local.FileSendParams{Peers: []string{"bob"}, Sources: sources, Wait: waitQueued}, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []store.MessageID
	for _, r := range out.Results {
		ids = append(ids, store.MessageID(uuid.MustParse(r.ID)))
	}
	return ids
}

// fetched fetches a sent file and returns its content.
func (w *world) fetched(id store.MessageID) []byte {
	w.t.Helper()
	w.offer(id, store.FileOffered)
	out := filepath.Join(w.t.TempDir(), "got")
	if _, err := w.get(id, out); err != nil {
		w.t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// handed is a source whose caller has opened the file at path and calls it as.
func handed(path, as string) local.FileSource {
	return local.FileSource{Path: as, Open: func() (*os.File, error) { return os.Open(path) }}
}

// The caller's open file is sent, whatever the daemon finds at the path: nothing, another
// file, or an unreadable one.
func TestSentIsWhatTheCallerHasOpen(t *testing.T) {
	w := newWorld(t)
	w.start()
	mine := w.source("mine", 2*seal.FilePartPlain+5)
	other := filepath.Join(w.dir, "other")
	if err := os.WriteFile(other, []byte("not this one"), 0o600); err != nil {
		t.Fatal(err)
	}
	ids := w.sendSources(handed(mine, filepath.Join(w.dir, "nothing is here")), handed(mine, other))
	for _, id := range ids {
		w.wait(id, store.FileSent)
		if !bytes.Equal(w.fetched(id), pattern(2*seal.FilePartPlain+5, 1)) {
			t.Error("another content was sent")
		}
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if len(w.s.held) != 0 {
		t.Errorf("%d files are still open", len(w.s.held))
	}
}

// A file that was only named must be the one the caller sees.
func TestNamedFileMustBeTheOneThatIsMeant(t *testing.T) {
	w := newWorld(t)
	w.start()
	mine, other := w.source("mine", 9), w.source("other", 9)
	info, err := os.Open(mine)
	if err != nil {
		t.Fatal(err)
	}
	defer info.Close()
	device, inode, err := local.FileIdentity(info)
	if err != nil {
		t.Fatal(err)
	}
	p := local.FileSendParams{Peers: []string{"bob"}, Wait: waitQueued}
	p.Sources = []local.FileSource{{Path: other, Device: device, Inode: inode}}
	if _, err := w.s.Send(t.Context(), p, nil, nil); local.As(err).Code != local.CodeUsage {
		t.Errorf("another file: %v", err)
	}
	p.Sources[0].Path = mine
	if _, err := w.s.Send(t.Context(), p, nil, nil); err != nil {
		t.Errorf("the same file: %v", err)
	}
}

// Beyond the limit of open files only paths are kept. A file that was replaced since then
// is not sent.
func TestFilesBeyondThoseThatAreHeld(t *testing.T) {
	w := newWorld(t)
	w.blobs.create = func() error { return errors.New("the server is away") }
	w.start()
	end := w.skipWaits()
	defer end()
	first := w.source("first", 3)
	var sources []local.FileSource
	for range maxHeld {
		sources = append(sources, handed(first, first))
	}
	w.sendSources(sources...)
	last := w.source("last", 3)
	id := w.sendSources(handed(last, last))[0]
	p := local.FileSendParams{Peers: []string{"bob"}, Wait: waitQueued, Sources: []local.FileSource{handed(last, filepath.Join(w.dir, "none"))}}
	if _, err := w.s.Send(t.Context(), p, nil, nil); local.As(err).Code != local.CodeUsage {
		t.Errorf("a file that cannot be opened again: %v", err)
	}
	if err := errors.Join(os.WriteFile(last+".new", []byte("new"), 0o600), os.Rename(last+".new", last)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.blobs.create = nil
	w.start()
	f := w.wait(id, store.FileFailed)
	if !strings.Contains(f.Reason, "another file") {
		t.Errorf("reason %q", f.Reason)
	}
}

// A log that keeps growing while it is sent is sent once, with the length it had at the
// start, and no part is uploaded twice.
func TestFileThatGrows(t *testing.T) {
	w := newWorld(t)
	path := w.source("log", 2*seal.FilePartPlain+77)
	grow := func() {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString("one more line\n")
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	w.blobs.put = func(context.Context, int) error { grow(); return nil }
	w.start()
	id := w.sendSources(handed(path, path))[0]
	grow()
	w.wait(id, store.FileSent)
	w.blobs.mu.Lock()
	puts, blobs := 0, w.blobs.n
	for _, n := range w.blobs.puts {
		puts += n
	}
	w.blobs.mu.Unlock()
	if puts != 3 || blobs != 1 {
		t.Errorf("%d parts in %d blobs", puts, blobs)
	}
	if !bytes.Equal(w.fetched(id), pattern(2*seal.FilePartPlain+77, 1)) {
		t.Error("it is not what was there at the start")
	}
}

// A file that grows and whose beginning also changes does not count as a log: nobody
// receives a mixture of two states.
func TestFileThatGrowsAndChanges(t *testing.T) {
	const size = 2*seal.FilePartPlain + 77
	w := newWorld(t)
	path := w.source("database", size)
	change := sync.OnceFunc(func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt(pattern(size+100, 9), 0)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	w.blobs.put = func(context.Context, int) error { change(); return nil }
	w.start()
	end := w.skipWaits()
	defer end()
	id := w.sendSources(handed(path, path))[0]
	f := w.wait(id, store.FileSent)
	if got := w.fetched(id); !bytes.Equal(got, pattern(size+100, 9)) || f.Size != size+100 {
		t.Errorf("%d bytes of %d", len(got), f.Size)
	}
}

// A file that changes at every attempt is retried up to the limit. Its caller sees each
// restart, and at the end a hint what to do.
func TestFileThatChangesAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	const size = seal.FilePartPlain + 9
	path := w.source("f", size)
	seed := byte(1)
	w.blobs.put = func(_ context.Context, part int) error {
		if part != 1 {
			return nil
		}
		seed++
		return os.WriteFile(path, pattern(size-int(seed), seed), 0o600)
	}
	w.spoolParts = 1
	w.start()
	end := w.skipWaits()
	defer end()
	told := map[int]string{}
	p := local.FileSendParams{Peers: []string{"bob"}, Sources: []local.FileSource{handed(path, path)}}
	out, err := w.s.Send(t.Context(), p, nil, func(f local.FileProgress) {
		if f.Restarts > 0 {
			told[f.Restarts] = f.Note
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	f := w.file(store.MessageID(uuid.MustParse(out.Results[0].ID)))
	if f.State != store.FileFailed || !strings.Contains(f.Reason, "copy") {
		t.Errorf("%s: %q", f.State, f.Reason)
	}
	if told[local.MaxRestarts] == "" {
		t.Errorf("told %v", told)
	}
	if w.blobs.n != local.MaxRestarts+1 {
		t.Errorf("%d uploads", w.blobs.n)
	}
}

// Files whose stated size is wrong are read to their end without restarts.
func TestFileThatStatesAnotherSize(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system has no such files")
	}
	w := newWorld(t)
	w.start()
	n := 0
	for _, path := range []string{"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/notes", "/proc/version", "/proc/self/maps", "/sys/class/net/lo/mtu"} {
		want, err := os.ReadFile(path)
		if err != nil {
			continue // not available on this kernel
		}
		n++
		id := w.sendSources(handed(path, path))[0]
		f := w.wait(id, store.FileSent)
		got := w.fetched(id)
		if int64(len(got)) != f.Size || path != "/proc/self/maps" && !bytes.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s: %d bytes instead of %d", path, len(got), len(want))
		}
		if p := w.blobs.n; p != n {
			t.Errorf("%s: %d uploads for %d files", path, p, n)
		}
	}
	if n == 0 {
		t.Skip("none of them is here")
	}
}
