package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// discard is a stream that records whether it was closed.
type discard struct {
	io.Writer
	ended bool
}

func (d *discard) Close() error {
	d.ended = true
	return nil
}

// TestDeclinedWhileItIsFetched checks that a file which is declined during its fetch is not
// saved, since its sender has been notified. It stays declined when the server answers that
// it no longer has the file.
func TestDeclinedWhileItIsFetched(t *testing.T) {
	for name, gone := range map[string]bool{"the server still has it": false, "the server has it no more": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			for _, stream := range []bool{false, true} {
				f := w.offered("f", 10)
				w.blobs.get = func(context.Context, int64) error {
					w.offer(f.ID, store.FileDeclined)
					if gone {
						return notFound()
					}
					return nil
				}
				dir := t.TempDir()
				p, out := local.FileGetParams{ID: uuid.UUID(f.ID).String(), Path: dir}, &discard{Writer: io.Discard}
				var to io.WriteCloser
				if stream {
					p.Path, p.Stream, to = "", true, out
				}
				_, err := w.s.Get(t.Context(), p, to, nil)
				if e := local.As(err); e.Code != local.CodeNotFound || e.Message != "the file was declined" {
					t.Errorf("got %v", err)
				}
				nothingIn(t, dir)
				if out.ended {
					t.Error("the stream ended as if it were whole")
				}
				w.blobs.get = nil
			}
		})
	}
}

// TestNameTakenWhileItIsFetched checks that no partial file stays when another file takes
// the name during the fetch, however many parts were durable.
func TestNameTakenWhileItIsFetched(t *testing.T) {
	w := newWorld(t)
	w.start()
	f := w.offered("f", 2*seal.FilePartPlain+10)
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	w.blobs.get = func(ctx context.Context, offset int64) error {
		if offset < 2*seal.FilePartPlain {
			return nil
		}
		w.until("nothing is durable", func() bool { return ctx.Err() != nil || w.durable(f.ID) > 0 })
		if err := os.WriteFile(path, []byte("other"), 0o600); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	}
	if _, err := w.get(f.ID, path); local.As(err).Code != local.CodeUsage {
		t.Errorf("got %v", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "x" {
		t.Errorf("%v, %v", names, err)
	}
	wantFile(t, path, []byte("other"))
}
