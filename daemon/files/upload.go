package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/identity"
	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// maxLate bounds how often the server is asked for the parts that it has after it
// did not know those that were sent: once for each part that may still have been
// on its way.
const maxLate = partsParallel

var (
	// errWithdrawn ends an upload that nobody waits for any more.
	errWithdrawn = errors.New("nobody waits for the upload")
	// errLost says that the server, or the spool, has lost what it had.
	errLost = errors.New("what was uploaded is lost")
)

// failure ends an upload and the messages that wait for it.
type failure struct {
	reason string
	text   string
}

// Error returns the text.
func (f *failure) Error() string { return f.text }

// upload seals one source into a blob. One goroutine reads, one seals and
// spools, some carry parts to the server; all of them end with run.
//
//	read -> seal -> spool, fsync, record -> ticket, put -> record, remove -> complete -> message
type upload struct {
	// constant
	s       *Service
	id      int64
	cancel  context.CancelCauseFunc
	track   *tracker      // nil: nobody watches
	stream  *liveStream   // nil: a path, or a stream that is lost
	held    *os.File      // the source that its caller handed over; nil: its path is opened
	leaving chan struct{} // holds the one whose part is leaving

	plan plan   // owned by run between attempts, and not changed in one
	blob string // owned by sendAll while an attempt runs

	mu     sync.Mutex
	stored map[int]wire.BlobPart // guarded by mu
}

// run carries out the upload until it is done, has failed, or ctx ends.
func (u *upload) run(ctx context.Context) {
	b := backoff{s: u.s}
	for {
		err := u.attempt(ctx)
		if err == nil || errors.Is(err, errWithdrawn) && ctx.Err() == nil {
			return // done, here or before
		}
		if errors.Is(err, errChanged) || errors.Is(err, errLost) {
			if err = u.restart(ctx, err); err == nil {
				if b.wait(ctx, nil) == nil {
					continue
				}
			}
		}
		if f, ok := errors.AsType[*failure](err); ok && ctx.Err() == nil {
			if err = u.fail(ctx, f); err == nil {
				return
			}
		}
		if ctx.Err() != nil {
			if errors.Is(context.Cause(ctx), errWithdrawn) {
				u.withdrawn(ctx)
			}
			return
		}
		u.waits(err)
		if b.wait(ctx, err) != nil {
			if errors.Is(context.Cause(ctx), errWithdrawn) {
				u.withdrawn(ctx)
			}
			return
		}
	}
}

func (u *upload) withdrawn(ctx context.Context) {
	if err := u.s.discard(context.WithoutCancel(ctx), u.id, u.plan.Blob); err != nil {
		u.s.o.Logger.Warn("withdraw an upload", "transfer", u.id, "error", err)
	}
}

// fail tells the messages, and removes what is left.
func (u *upload) fail(ctx context.Context, f *failure) error {
	u.s.o.Logger.Warn("upload failed", "transfer", u.id, "reason", f.reason, "error", f.text)
	if err := u.s.o.Engine.UploadFailed(ctx, u.id, f.reason, f.text); err != nil {
		return err
	}
	return u.s.discard(ctx, u.id, u.plan.Blob)
}

// restart begins again under a new key with the source as it is now. Whoever
// waits is told each time.
func (u *upload) restart(ctx context.Context, why error) error {
	note := "the server lost what it had of the file"
	if errors.Is(why, errChanged) {
		note = errChanged.Error()
	}
	switch {
	case u.plan.Stream:
		return &failure{store.ReasonFileStream, "the server lost the upload, and a stream cannot be read again"}
	case u.plan.Restarts >= local.MaxRestarts && errors.Is(why, errChanged):
		return &failure{store.ReasonFileSource, fmt.Sprintf("the file changed each of the %d times that it was sent: send a copy of it", u.plan.Restarts+1)}
	case u.plan.Restarts >= local.MaxRestarts:
		return &failure{store.ReasonFileRefused, fmt.Sprintf("the server lost the upload %d times: %v", u.plan.Restarts+1, why)}
	}
	f, src, err := u.openSource()
	if err != nil {
		return sourceFailure(err)
	}
	if err := u.closeSource(f); err != nil {
		return err
	}
	next := u.plan
	next.Source, next.Size = src, src.length()
	next.Restarts++
	next.Note = note
	next.renew()
	u.s.o.Logger.Warn("upload starts again", "transfer", u.id, "restart", next.Restarts, "of", local.MaxRestarts, "why", why.Error())
	// First what the old key sealed: a part of the new one that finds it there
	// would be taken for one of a source that has changed once more.
	if err := u.s.spool.clear(u.id); err != nil {
		return err
	}
	if err := u.save(ctx, next, true); err != nil {
		return err
	}
	u.plan = next
	u.track.set(0, next.Size)
	u.track.restarted(next.Restarts, note)
	return nil
}

// openSource opens the source and says how it stands now: the file that was
// handed over, or the one at its path if that is still the same. The error is a
// *local.Error, or errReplaced. closeSource closes it.
func (u *upload) openSource() (*os.File, source, error) {
	was := u.plan.Source
	if u.held != nil {
		now, err := stat(was.Path, u.held)
		return u.held, now, err
	}
	f, now, err := openSource(was.Path)
	if err == nil && !was.same(now) {
		err = errors.Join(errReplaced, f.Close())
	}
	return f, now, err
}

func (u *upload) closeSource(f *os.File) error {
	if f == u.held {
		return nil // it may be read again
	}
	return f.Close()
}

// save writes the plan. With fresh it forgets the parts and has the old blob deleted.
func (u *upload) save(ctx context.Context, p plan, fresh bool) error {
	body, err := p.encode()
	if err != nil {
		return err
	}
	return u.s.o.Store.Update(ctx, func(tx *store.Tx) error {
		t, err := tx.Transfer(u.id)
		if errors.Is(err, store.ErrNotFound) {
			return errWithdrawn
		}
		if err != nil {
			return err
		}
		if fresh {
			if err := tx.DeleteParts(u.id); err != nil {
				return err
			}
			if u.plan.Blob != "" {
				old := &store.Transfer{Account: t.Account, Kind: store.TransferDelete, CreatedMS: t.CreatedMS, Body: []byte(u.plan.Blob)}
				if err := tx.InsertTransfer(old); err != nil {
					return err
				}
			}
		}
		t.Body = body
		return tx.SaveTransfer(t)
	})
}

// damagedUpload ends an upload of which the disk has kept nothing that can be used.
func damagedUpload() *failure {
	return &failure{store.ReasonFileSource, "what is stored of the upload is damaged on disk"}
}

// sourceFailure ends an upload whose source cannot be read.
func sourceFailure(err error) error {
	if errors.Is(err, errReplaced) {
		return &failure{store.ReasonFileSource, "another file has taken the place of the one that was to be sent: send it again"}
	}
	if e, ok := errors.AsType[*local.Error](err); ok {
		return &failure{store.ReasonFileSource, e.Message}
	}
	return err
}

// attempt goes on from what is durable until the upload is done or something
// stops it.
func (u *upload) attempt(ctx context.Context) error {
	var parts []store.TransferPart
	err := u.s.o.Store.View(ctx, func(tx *store.Tx) error {
		t, err := tx.Transfer(u.id) // what was read before may be old
		if t != nil && t.Damaged != nil {
			return damagedUpload()
		}
		if err != nil {
			return err
		}
		p, err := decodePlan(t.Body)
		if err != nil {
			return err
		}
		if p.Blob == "" && bytes.Equal(p.Key, u.plan.Key) {
			p.Blob = u.plan.Blob // of a single part, which is not recorded
		}
		u.plan, u.blob = p, p.Blob
		parts, err = tx.Parts(u.id)
		if _, ok := errors.AsType[*store.ValueError](err); ok {
			return errLost // where it stands is not known: it begins again
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return errWithdrawn
	}
	if err != nil {
		return err
	}
	var last mark
	if len(parts) > 0 {
		if last, err = decodeMark(parts[len(parts)-1].Body); err != nil {
			return err
		}
	}
	u.mu.Lock()
	u.stored = make(map[int]wire.BlobPart)
	u.mu.Unlock()
	l := &line{
		ready: make(chan sealedPart, max(u.s.o.SpoolParts, len(parts))), slots: make(chan struct{}, u.s.o.SpoolParts),
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.sealAll(gctx, l, parts, &last) })
	g.Go(func() error { return u.sendAll(gctx, l, parts) })
	err = g.Wait()
	if l.in != nil {
		if err == nil {
			err = l.in.unchanged(ctx, last)
		}
		l.in.close()
	}
	u.plan.Blob = u.blob
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return u.finish(ctx, last)
}

// line is what connects sealing and sending.
type line struct {
	ready  chan sealedPart      // spooled parts, in order; closed behind the last one
	slots  chan struct{}        // one for each part that is spooled and not stored
	memory chan struct{}        // one for each part that is in memory, sealed
	kept   atomic.Pointer[loan] // of the last part in the spool; nil: there is none
	in     *input               // nil until sealing begins; owned by sealAll, and then by attempt
}

// single reports whether all of the source is one part: then nothing is recorded
// that a second try would not find again by itself.
func (u *upload) single() bool { return u.plan.Size >= 0 && u.plan.Size <= seal.FilePartPlain }

// finish completes the blob and hands the reference to the messages.
func (u *upload) finish(ctx context.Context, last mark) error {
	sum, err := loadHash(last.Sealed)
	if err != nil {
		return err
	}
	u.mu.Lock()
	var parts []wire.BlobPart
	var total int64
	for _, p := range u.stored {
		parts = append(parts, p)
		total += p.Size
	}
	u.mu.Unlock()
	slices.SortFunc(parts, func(a, b wire.BlobPart) int { return a.Number - b.Number })
	if want, err := seal.SealedFileSize(last.Offset); err != nil || want != total {
		return fmt.Errorf("upload of %d bytes instead of %d: %w", total, want, errLost)
	}
	blob, err := u.complete(ctx, parts)
	if err == nil && blob.Size != total {
		err = fmt.Errorf("blob of %d bytes instead of %d: %w", blob.Size, total, errLost)
	}
	if err != nil {
		return err
	}
	err = u.s.o.Engine.FileUploaded(ctx, u.id, store.UploadedFile{
		Blob: u.plan.Blob, Key: u.plan.Key, Size: last.Offset, SHA256: sum.Sum(nil), ExpiresMS: blob.ExpiresMS,
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := u.s.spool.remove(u.id, p.Number); err != nil {
			u.s.o.Logger.Warn("remove a spooled part", "error", err)
		}
	}
	return nil
}

// complete makes the parts a blob. A part that an earlier daemon had on its way
// when it was killed may have come once more after its second sending was
// answered: the same bytes, for a part is sealed once, under another ETag. Then
// the server is asked what it has, and its parts are taken if they have the sizes
// of those that were sent.
func (u *upload) complete(ctx context.Context, parts []wire.BlobPart) (wire.Blob, error) {
	complete := func() (wire.Blob, error) { return u.s.o.Blobs.CompleteBlob(ctx, u.plan.Blob, parts) }
	blob, err := retry(ctx, u, complete)
	for tries := 0; errors.Is(err, errLost) && wire.CodeOf(err) == wire.CodeConflict && tries < maxLate; tries++ {
		has, asked := retry(ctx, u, func() (wire.Blob, error) { return u.s.o.Blobs.GetBlob(ctx, u.plan.Blob) })
		if asked != nil {
			return blob, asked
		}
		if has.Complete {
			return has, nil
		}
		sameSize := func(a, b wire.BlobPart) bool { return a.Number == b.Number && a.Size == b.Size }
		if !slices.EqualFunc(has.Parts, parts, sameSize) {
			return blob, err
		}
		parts = has.Parts
		blob, err = retry(ctx, u, complete)
	}
	return blob, err
}

// retry asks the server until it answers; what is final is a failure or a new start.
func retry[R any](ctx context.Context, u *upload, ask func() (R, error)) (R, error) {
	b := backoff{s: u.s}
	for {
		r, err := ask()
		if err == nil {
			u.moves()
			return r, nil
		}
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		if final(err) {
			return r, refusal(err)
		}
		if b.enough(err) {
			return r, refused(err)
		}
		u.waits(err)
		if err := b.wait(ctx, err); err != nil {
			return r, err
		}
	}
}

// refusal says what a final answer of the server means.
func refusal(err error) error {
	e, _ := errors.AsType[*wire.Error](err)
	switch wire.CodeOf(err) {
	case wire.CodeQuota:
		return &failure{store.ReasonFileQuota, "the server has no room for the file: " + e.Message + "; secmsg file gc frees what every recipient has fetched"}
	case wire.CodeTooLarge:
		return &failure{store.ReasonFileTooLarge, "the server does not take a file of this size: " + e.Message}
	case wire.CodeNotFound, wire.CodeConflict:
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return &failure{store.ReasonFileRefused, "the server refused the file: " + e.Message}
}

// readers are the accounts that may fetch the blob.
func (u *upload) readers(ctx context.Context) ([]string, error) {
	var out []string
	err := u.s.o.Store.View(ctx, func(tx *store.Tx) error {
		out = nil
		list, err := tx.FilesByTransfer(u.s.o.Account, u.id)
		if err != nil {
			return err
		}
		for _, f := range list {
			text, err := tx.PeerAddress(f.Peer)
			if err != nil {
				return err
			}
			addr, err := identity.ParseAddress(text)
			if err != nil {
				return err
			}
			if !slices.Contains(out, addr.User) {
				out = append(out, addr.User)
			}
		}
		return nil
	})
	return out, err
}
