package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/local/place"
)

// save is a download to a local file.
type save struct {
	s    *Service
	file *store.File
	id   int64 // id of its row
	t    target
	root *os.Root
	f    *os.File
	to   io.WriterAt // writes to f

	durable chan progressMark // parts that are written and not synced yet
}

// progressMark is the position of a download after a part.
type progressMark struct {
	parts int
	state []byte
}

// begin finds the row of an earlier try with the same target, or inserts one. root is the
// target's directory.
func (s *Service) begin(ctx context.Context, f *store.File, t target, root *os.Root) (*save, error) {
	d := &save{s: s, file: f, t: t, root: root}
	var old []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		old, err = tx.TransfersOf(s.o.Account, f.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, row := range old {
		was, err := decodeTarget(row.Body)
		if err != nil || !was.same(t) {
			continue
		}
		ok, err := s.takeOver(ctx, row.ID, d)
		if err != nil {
			return nil, err
		}
		if ok {
			return d, nil
		}
	}
	// Nobody else may look for a row until this one is inserted and claimed. Two calls that
	// write the same temporary file could rename a partial file to its final name.
	s.beginning.Lock()
	defer s.beginning.Unlock()
	err = s.o.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := t.row(s.o.Account, f.ID, s.o.Store.ProfileTime().UnixMilli())
		if err != nil {
			return err
		}
		if err := tx.InsertTransfer(row); err != nil {
			return err
		}
		d.id = row.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.claims[d.id] = true
	return d, nil
}

// takeOver claims the row of an earlier try, if no call is using it, and reads it again:
// the last call may have continued or finished it meanwhile.
func (s *Service) takeOver(ctx context.Context, id int64, d *save) (bool, error) {
	if !s.claim(id) {
		return false, nil
	}
	var now target
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Transfer(id)
		if err != nil {
			return err
		}
		now, err = decodeTarget(row.Body)
		return err
	})
	if err != nil {
		s.unclaim(id)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return false, err
	}
	d.id, d.t = id, now
	return true, nil
}

// run fetches the file and gives it its final name. After an error that may pass, the
// durable part of the download stays for the next try. After any other error it is removed.
func (d *save) run(ctx context.Context, f *fetch) (path string, err error) {
	defer d.s.unclaim(d.id)
	if d.t.placed(d.root, d.file.Size) {
		return filepath.Join(d.t.Dir, d.t.Final), nil // an earlier daemon ended right after renaming
	}
	if err := d.open(ctx); err != nil {
		return "", errors.Join(err, d.forget(ctx))
	}
	err = d.fill(ctx, f)
	if err == nil {
		err = d.seal()
	}
	err = errors.Join(err, d.f.Close())
	if err == nil {
		path, err = d.finish(ctx)
	}
	if err != nil && !d.resumable(ctx, err) {
		err = errors.Join(err, d.forget(ctx))
	}
	return path, err
}

// seal syncs the whole file.
func (d *save) seal() error {
	if err := d.f.Sync(); err != nil {
		return writeError(d.t.Dir, err)
	}
	return nil
}

// resumable reports whether another try can use the partial file. It cannot if the name is
// taken, because the next try fails before it begins.
func (d *save) resumable(ctx context.Context, err error) bool {
	if errors.Is(err, errBadContent) || errors.Is(err, errDeclined) || errors.Is(err, os.ErrExist) || final(err) {
		return false
	}
	return d.t.Parts > 0 || ctx.Err() != nil
}

// open opens the file at the end of its last durable part, or creates it.
func (d *save) open(ctx context.Context) (err error) {
	if d.t.Parts > 0 {
		d.f, err = d.t.open(d.root, true)
		if err == nil {
			f, err := d.f.Stat()
			if err == nil && f.Size() >= min(int64(d.t.Parts)*seal.FilePartPlain, d.file.Size) && f.Size() <= d.file.Size {
				return nil
			}
			if err := d.f.Close(); err != nil {
				return err
			}
		}
	}
	if err := d.t.remove(d.root); err != nil {
		return writeError(d.t.Dir, err)
	}
	d.t.Parts, d.t.Digest = 0, nil
	d.f, err = d.t.open(d.root, false)
	return err
}

// fill fetches the missing parts. One goroutine syncs written parts while the next parts
// are downloaded.
func (d *save) fill(ctx context.Context, f *fetch) error {
	d.durable = make(chan progressMark, f.count+1)
	d.to = d.f
	if d.file.Size >= directFrom {
		d.to = &direct{f: d.f}
	}
	f.track.set(min(int64(d.t.Parts)*seal.FilePartPlain, d.file.Size), d.file.Size)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(d.durable)
		return f.run(ctx, d.t.Parts, d.t.Digest, d)
	})
	g.Go(func() error { return d.record(ctx, f.count) })
	return g.Wait()
}

// part implements sink.
func (d *save) part(_ context.Context, number int, plain, state []byte) error {
	if _, err := d.to.WriteAt(plain, int64(number-1)*seal.FilePartPlain); err != nil {
		return writeError(d.t.Dir, err)
	}
	d.durable <- progressMark{number, state} // never blocks
	return nil
}

// record syncs the file and records the position, for all parts written since the last
// time. It skips the last part: finish records the end of the file.
func (d *save) record(ctx context.Context, count int) error {
	for at := range d.durable {
		for more := true; more; {
			select {
			case next, ok := <-d.durable:
				if more = ok; ok {
					at = next
				}
			default:
				more = false
			}
		}
		if at.parts == count {
			continue
		}
		if err := d.f.Sync(); err != nil {
			return writeError(d.t.Dir, err)
		}
		d.t.Parts, d.t.Digest = at.parts, at.state
		if err := d.note(ctx); err != nil {
			return err
		}
	}
	return nil
}

// note saves the target, with the position of the download, in its row.
func (d *save) note(ctx context.Context) error {
	body, err := d.t.encode()
	if err != nil {
		return err
	}
	return d.s.o.Store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Transfer(d.id)
		if err != nil {
			return err
		}
		row.Body = body
		return tx.SaveTransfer(row)
	})
}

// finish gives the verified file its final name. It records the name first, so that the
// next daemon does not save the file twice if this one is killed in between.
func (d *save) finish(ctx context.Context) (string, error) {
	if err := d.s.notDeclined(ctx, d.file.ID); err != nil {
		return "", err
	}
	if !d.t.leadsTo() {
		return "", moved(d.t.Dir)
	}
	d.t.Final = d.t.Name
	if !d.t.Exact {
		free, err := place.FirstFree(d.t.Name, d.taken)
		if err != nil {
			return "", writeError(d.t.Dir, err)
		}
		d.t.Final = free
	}
	if err := d.note(ctx); err != nil {
		return "", err
	}
	err := d.t.place(d.root)
	path := filepath.Join(d.t.Dir, d.t.Final)
	switch {
	case errors.Is(err, os.ErrExist):
		return "", fmt.Errorf("%w (%w)", exists(path), os.ErrExist)
	case errors.Is(err, errMoved):
		return "", local.Errorf(local.CodeIO, "%s: the downloaded file was replaced by another one", path)
	case err != nil:
		return "", writeError(path, err)
	}
	return path, place.SyncDir(d.root)
}

// taken fails with os.ErrExist if the name is in use.
func (d *save) taken(name string) error {
	_, err := d.root.Lstat(name)
	if err == nil {
		return os.ErrExist
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// forget removes the partial file and its row.
func (d *save) forget(ctx context.Context) error {
	if err := d.t.remove(d.root); err != nil {
		return fmt.Errorf("remove a partial download: %w", err)
	}
	return d.s.o.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.DeleteTransfer(d.id) })
}

// claim marks a row as in use by a call and reports whether it was free.
func (s *Service) claim(id int64) bool {
	s.beginning.Lock()
	defer s.beginning.Unlock()
	if s.claims[id] {
		return false
	}
	s.claims[id] = true
	return true
}

func (s *Service) unclaim(id int64) {
	s.beginning.Lock()
	defer s.beginning.Unlock()
	delete(s.claims, id)
}

// streamSink writes plaintext to a caller's stream.
type streamSink struct{ w io.Writer }

// errGone says that the caller has closed its stream.
var errGone = errors.New("the caller stopped reading")

// part implements sink.
func (s streamSink) part(_ context.Context, _ int, plain, _ []byte) error {
	if _, err := s.w.Write(plain); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
