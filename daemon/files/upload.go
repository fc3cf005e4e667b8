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

// maxLate bounds how often complete asks the server for its list of parts after a conflict:
// once for each part that may still have been in flight.
const maxLate = partsParallel

var (
	// errWithdrawn ends an upload whose messages were all withdrawn.
	errWithdrawn = errors.New("the upload was withdrawn")
	// errLost says that the server or the spool has lost parts of the upload.
	errLost = errors.New("the server lost uploaded parts")
)

// failure is an error that ends an upload and fails the messages that wait for it.
type failure struct {
	reason string
	text   string
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// upload seals one source into a blob and uploads it. run starts all of its goroutines and
// waits for them. The package comment describes the stages and who owns which buffer:
//
//	read -> seal -> spool, fsync, record -> ticket, put -> record, remove -> complete -> message
type upload struct {
	// constant
	s       *Service
	id      int64
	cancel  context.CancelCauseFunc
	track   *tracker      // nil: no caller watches
	stream  *liveStream   // nil: the source is a file, or the stream is lost
	held    *os.File      // source handed over by the caller; nil: open the path
	leaving chan struct{} // semaphore of one token: the request that reads its part's bytes

	plan plan   // owned by run; constant during an attempt
	blob string // id of the blob; owned by sendAll during an attempt

	mu     sync.Mutex
	stored map[int]wire.BlobPart // parts on the server by number; guarded by mu
}

// run retries the upload until it succeeds, fails for good, or ctx ends.
func (u *upload) run(ctx context.Context) {
	b := retries{s: u.s}
	for {
		err := u.attempt(ctx)
		if err == nil || errors.Is(err, errWithdrawn) && ctx.Err() == nil {
			return // done, now or by an earlier attempt
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

// fail marks the upload's messages as failed and removes its parts and blob.
func (u *upload) fail(ctx context.Context, f *failure) error {
	u.s.o.Logger.Warn("upload failed", "transfer", u.id, "reason", f.reason, "error", f.text)
	if err := u.s.o.Engine.UploadFailed(ctx, u.id, f.reason, f.text); err != nil {
		return err
	}
	return u.s.discard(ctx, u.id, u.plan.Blob)
}

// restart begins again under a new key, with the source as it is now. The progress of a
// watching caller shows each restart with its reason.
func (u *upload) restart(ctx context.Context, why error) error {
	note := "the server lost the uploaded parts of the file"
	if errors.Is(why, errChanged) {
		note = errChanged.Error()
	}
	switch {
	case u.plan.Stream:
		return &failure{store.ReasonFileStream, "the server lost the upload, and a stream cannot be read again"}
	case u.plan.Restarts >= local.MaxRestarts && errors.Is(why, errChanged):
		return &failure{store.ReasonFileSource, fmt.Sprintf("the file changed during each of %d attempts to send it: send a copy of it", u.plan.Restarts+1)}
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
	u.s.o.Logger.Warn("upload restarts", "transfer", u.id, "restart", next.Restarts, "of", local.MaxRestarts, "why", why.Error())
	// Remove the parts sealed under the old key first: write would compare a part sealed
	// under the new key with them, and report that the source changed once more.
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

// openSource opens the source and returns its present state. The source is the file that
// the caller handed over, or else the file at its path, if that is still the same file. The
// error is a *local.Error or errReplaced. closeSource closes the file.
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
		return nil // another attempt may read it again
	}
	return f.Close()
}

// save writes the plan. With fresh it also deletes the part rows and schedules the deletion
// of the old blob.
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

// damagedUpload ends an upload whose row is damaged on disk.
func damagedUpload() *failure {
	return &failure{store.ReasonFileSource, "the stored upload is damaged on disk"}
}

// sourceFailure returns the failure of an upload whose source cannot be read.
func sourceFailure(err error) error {
	if errors.Is(err, errReplaced) {
		return &failure{store.ReasonFileSource, "another file replaced the one that was to be sent: send it again"}
	}
	if e, ok := errors.AsType[*local.Error](err); ok {
		return &failure{store.ReasonFileSource, e.Message}
	}
	return err
}

// attempt continues from the durable state until the upload is complete or an error occurs.
func (u *upload) attempt(ctx context.Context) error {
	var parts []store.TransferPart
	err := u.s.o.Store.View(ctx, func(tx *store.Tx) error {
		t, err := tx.Transfer(u.id) // u.plan may be outdated
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
			p.Blob = u.plan.Blob // the blob of a single-part upload is not recorded
		}
		u.plan, u.blob = p, p.Blob
		parts, err = tx.Parts(u.id)
		if _, ok := errors.AsType[*store.ValueError](err); ok {
			return errLost // the position is unknown: start again
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
	l := &pipeline{
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

// pipeline connects the stages of an attempt.
type pipeline struct {
	ready  chan sealedPart         // spooled parts in order; closed after the last one
	slots  chan struct{}           // semaphore: one token for each part that is spooled and not yet stored
	memory chan struct{}           // semaphore: one token for each sealed part in memory
	newest atomic.Pointer[memCopy] // memory copy of the part spooled last; nil: none
	in     *input                  // nil until sealing begins; owned by sealAll, then by attempt
}

// single reports whether the whole source fits into one part. Then neither the blob nor the
// stored part is recorded: a retry seals and uploads the part again.
func (u *upload) single() bool { return u.plan.Size >= 0 && u.plan.Size <= seal.FilePartPlain }

// finish completes the blob and passes its reference to the messages.
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
		return fmt.Errorf("uploaded %d bytes instead of %d: %w", total, want, errLost)
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

// complete makes the uploaded parts a blob. If an earlier daemon was killed during an
// upload, its request for a part may have reached the store after the repeated one. The
// content is the same, since a part is sealed once, but the ETag differs and the server
// answers with a conflict. Then complete asks for the server's list of parts and uses that,
// provided that all sizes match.
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

// retry repeats a request until the server answers. A final error becomes a failure or
// errLost (see refusal).
func retry[R any](ctx context.Context, u *upload, ask func() (R, error)) (R, error) {
	b := retries{s: u.s}
	for {
		r, err := ask()
		if err == nil {
			u.proceeds()
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

// refusal translates a final error of the server.
func refusal(err error) error {
	e, _ := errors.AsType[*wire.Error](err)
	switch wire.CodeOf(err) {
	case wire.CodeQuota:
		return &failure{store.ReasonFileQuota, "the server has no room for the file: " + e.Message + "; secmsg file gc frees what every recipient has fetched"}
	case wire.CodeTooLarge:
		return &failure{store.ReasonFileTooLarge, "the server does not accept a file of this size: " + e.Message}
	case wire.CodeNotFound, wire.CodeConflict:
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return &failure{store.ReasonFileRefused, "the server refused the file: " + e.Message}
}

// readers returns the users that may fetch the blob.
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
