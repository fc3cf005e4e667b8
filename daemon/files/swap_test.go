package files

import (
	"context"
	"errors"
	"math/rand/v2"
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

// swapper repeatedly replaces a directory by a link to a directory outside, and back.
type swapper struct {
	dir, aside, outside string

	mu    sync.Mutex
	swaps int
}

func newSwapper(t *testing.T) *swapper {
	base := t.TempDir()
	s := &swapper{dir: filepath.Join(base, "dir"), aside: filepath.Join(base, "aside"), outside: filepath.Join(base, "outside")}
	if err := errors.Join(os.Mkdir(s.dir, 0o700), os.Mkdir(s.outside, 0o700)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *swapper) away() error {
	return errors.Join(os.Rename(s.dir, s.aside), os.Symlink(s.outside, s.dir))
}

func (s *swapper) back() error {
	return errors.Join(os.Remove(s.dir), os.Rename(s.aside, s.dir))
}

// run swaps until the returned function is called.
func (s *swapper) run(t *testing.T) (end func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
			}
			for range rand.N(5000) {
				runtime.Gosched() // let fetches hit any moment of the swap
			}
			if err := errors.Join(s.away(), s.back()); err != nil {
				t.Error(err)
				return
			}
			s.mu.Lock()
			s.swaps++
			s.mu.Unlock()
		}
	}()
	return func() { close(over); <-done }
}

func (s *swapper) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.swaps
}

func (s *swapper) nothingOutside(t *testing.T) {
	t.Helper()
	list, err := os.ReadDir(s.outside)
	if err != nil || len(list) != 0 {
		t.Fatalf("outside are %v, %v", list, err)
	}
}

// A directory becomes a link to another one and back, thousands of times. No fetched or
// temporary file ever lands in the link's target, whether the caller identified the
// directory or only named its path.
func TestTargetThatIsSwapped(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	s := newSwapper(t)
	device, inode, err := local.PathIdentity(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	end := s.run(t)
	saved, tries := 0, 0
	for i := 0; i < 300 || s.count() < 3000; i++ {
		tries++
		// Between two swaps the path does not exist. Without the slash it would name a
		// file.
		p := local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: s.dir + "/"}
		if i%2 == 0 {
			p.Device, p.Inode = device, inode
		}
		if i%4 > 1 {
			p.Path = filepath.Join(s.dir, "named")
			p.Overwrite = true
			p.Device, p.Inode = device, inode // a path through a linked parent is the caller's choice
		}
		if _, err := w.s.Get(t.Context(), p, nil, nil); err == nil {
			saved++
		} else if code := local.As(err).Code; code != local.CodeUsage && code != local.CodeIO {
			t.Errorf("%v", err)
		}
		s.nothingOutside(t)
	}
	end()
	if saved == 0 {
		t.Error("nothing was ever saved")
	}
	list, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			t.Errorf("%s was left", e.Name())
		}
	}
	t.Logf("%d of %d were saved during %d swaps", saved, tries, s.count())
}

// An interrupted download continues only in its own directory and file. A link in place of
// either one is not followed.
func TestResumeAfterASwap(t *testing.T) {
	const size = 3*seal.FilePartPlain + 5
	for _, tt := range []struct {
		name string
		swap func(t *testing.T, s *swapper, temp string)
		want int // parts that a third try finds
	}{
		{"the directory is a link", func(t *testing.T, s *swapper, temp string) {
			// The link's target has a file with the temporary name.
			if err := errors.Join(os.WriteFile(filepath.Join(s.outside, temp), make([]byte, 2*seal.FilePartPlain), 0o600), s.away()); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"the temporary file is a link", func(t *testing.T, s *swapper, temp string) {
			victim := filepath.Join(s.dir, "victim")
			err := errors.Join(os.WriteFile(victim, make([]byte, 2*seal.FilePartPlain), 0o600),
				os.Remove(filepath.Join(s.dir, temp)), os.Symlink("victim", filepath.Join(s.dir, temp)))
			if err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"the temporary file is another file", func(t *testing.T, s *swapper, temp string) {
			victim := filepath.Join(s.dir, "victim")
			err := errors.Join(os.WriteFile(victim, make([]byte, 2*seal.FilePartPlain), 0o600),
				os.Remove(filepath.Join(s.dir, temp)), os.Link(victim, filepath.Join(s.dir, temp)))
			if err != nil {
				t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			f := w.offered("f", size)
			s := newSwapper(t)
			w.interruptAfter(f, s.dir, 1)
			temp := w.temp(f.ID)
			tt.swap(t, s, temp)
			w.blobs.get = nil
			w.start()
			_, err := w.get(f.ID, s.dir)
			if tt.name == "the directory is a link" {
				if local.As(err).Code != local.CodeUsage {
					t.Errorf("a link: %v", err)
				}
				if b, err := os.ReadFile(filepath.Join(s.outside, temp)); err != nil || len(b) != 2*seal.FilePartPlain || b[0] != 0 {
					t.Errorf("what was behind the link was written, %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, filepath.Join(s.dir, "f"), pattern(size, 1))
			b, err := os.ReadFile(filepath.Join(s.dir, "victim"))
			if err != nil || len(b) != 2*seal.FilePartPlain || b[0] != 0 || b[len(b)-1] != 0 {
				t.Errorf("another file was written: %v", err)
			}
		})
	}
}

// interruptAfter begins a download and stops the daemon when that many parts are durable.
func (w *world) interruptAfter(f *store.File, path string, parts int) {
	w.t.Helper()
	w.blobs.get = func(ctx context.Context, offset int64) error {
		if offset < int64(parts)*seal.FilePartPlain {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.s.Get(ctx, local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: path}, nil, nil)
	}()
	w.until("nothing is durable", func() bool { return w.durable(f.ID) >= parts })
	cancel()
	<-done
	w.stop()
}

// temp returns the name of a download's partial file.
func (w *world) temp(id store.MessageID) (name string) {
	w.t.Helper()
	err := w.st.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.TransfersOf(1, id)
		if err != nil || len(rows) != 1 {
			return errors.Join(err, errors.New("not one download"))
		}
		t, err := decodeTarget(rows[0].Body)
		name = t.Temp
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return name
}

// If the daemon cannot write in the caller's directory, it asks a caller that can to take
// the file as a stream. Other callers get an error.
func TestDirectoryOfTheCallerOnly(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 10)
	dir, other := t.TempDir(), t.TempDir()
	device, inode, err := local.PathIdentity(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "name"), filepath.Join(dir, "not for the daemon", "x"), filepath.Join(dir, "not for the daemon") + "/"} {
		p := local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: path, Device: device, Inode: inode}
		if _, err := w.s.Get(t.Context(), p, nil, nil); local.As(err).Code != local.CodeUsage {
			t.Errorf("%s: %v", path, err)
		}
		p.OrStream = true
		got, err := w.s.Get(t.Context(), p, nil, nil)
		if err != nil || !got.Stream || got.Path != "" {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	nothingIn(t, dir)
	if w.file(f.ID).State != store.FileOffered {
		t.Error("the file counts as fetched")
	}
	w.settled()
}
