package files

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// sendAll creates the blob and uploads the parts of the pipeline.
func (u *upload) sendAll(ctx context.Context, l *pipeline, parts []store.TransferPart) error {
	stored, err := u.prepare(ctx, parts)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for range partsParallel {
		g.Go(func() error {
			for {
				select {
				case p, ok := <-l.ready:
					if !ok {
						return nil
					}
					if etag, ok := stored[p.Number]; ok {
						if err := u.isStored(ctx, p.TransferPart, etag); err != nil {
							return err
						}
					} else if err := u.put(ctx, p); err != nil {
						return err
					}
					<-l.slots
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	}
	return g.Wait()
}

// prepare creates the blob, or asks for the state of the one an earlier attempt created. It
// returns the ETags of spooled parts that the server already has.
func (u *upload) prepare(ctx context.Context, parts []store.TransferPart) (map[int]string, error) {
	if u.blob == "" {
		return nil, u.create(ctx)
	}
	blob, err := retry(ctx, u, func() (wire.Blob, error) { return u.s.o.Blobs.GetBlob(ctx, u.blob) })
	if err != nil {
		return nil, err
	}
	have := make(map[int]wire.BlobPart, len(blob.Parts))
	for _, p := range blob.Parts {
		have[p.Number] = p
	}
	out := make(map[int]string)
	for _, p := range parts {
		at, ok := have[p.Number]
		switch {
		case p.State == store.PartStored && !ok && len(blob.Parts) > 0 || ok && at.Size != p.Size:
			return nil, errLost
		case p.State == store.PartStored:
			u.done(p, p.ETag)
		case ok && at.ETag != "":
			out[p.Number] = at.ETag
		}
	}
	return out, nil
}

// create creates a new blob.
func (u *upload) create(ctx context.Context) error {
	readers, err := u.readers(ctx)
	if err != nil {
		return err
	}
	c := wire.CreateBlob{Readers: readers, LifeMS: u.plan.LifeMS}
	if u.plan.Size >= 0 {
		if c.Size, err = seal.SealedFileSize(u.plan.Size); err != nil {
			return &failure{store.ReasonFileTooLarge, "the file is too large"}
		}
	}
	blob, err := retry(ctx, u, func() (wire.Blob, error) { return u.s.o.Blobs.CreateBlob(ctx, c) })
	for b := (retries{s: u.s}); isQuota(err) && b.tries < quotaTries; {
		// Blobs withdrawn just now may still be in the queue of deletions, or just gone.
		more, e := u.s.freeing(ctx)
		if e == nil && more {
			e = b.wait(ctx, err)
		}
		if e != nil {
			return e
		}
		blob, err = retry(ctx, u, func() (wire.Blob, error) { return u.s.o.Blobs.CreateBlob(ctx, c) })
		if !more {
			break
		}
	}
	if err != nil {
		if errors.Is(err, errLost) { // a new blob cannot be lost
			return &failure{store.ReasonFileRefused, "the server refused the file: a recipient is unknown"}
		}
		return err
	}
	u.s.learnLimit(blob.MaxSize)
	next := u.plan
	next.Blob = blob.ID
	if !u.single() {
		// Retry on a full disk: a stream cannot be read again.
		if err := u.retryLocal(ctx, func() error { return u.save(ctx, next, false) }); err != nil {
			return errors.Join(err, u.s.deleteUnrecorded(ctx, u.id, blob.ID))
		}
	}
	u.blob = blob.ID
	return nil
}

// quotaTries bounds how often an upload over the quota waits for pending deletions of the
// account's blobs.
const quotaTries = 6

func isQuota(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.reason == store.ReasonFileQuota
}

// freeing reports whether deletions of blobs are pending, and triggers them.
func (s *Service) freeing(ctx context.Context) (bool, error) {
	var list []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Transfers(s.o.Account, store.TransferDelete, 0, 1)
		return err
	})
	s.Kick()
	return len(list) > 0, err
}

// put uploads one part and retries until the server has it.
func (u *upload) put(ctx context.Context, p sealedPart) error {
	c := &content{u: u, part: p}
	defer c.close()
	defer u.track.move(p.Number, 0)
	b := retries{s: u.s}
	for {
		etag, err := u.putOnce(ctx, p.TransferPart, c)
		c.forget()
		switch {
		case err == nil:
			return u.isStored(ctx, p.TransferPart, etag)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errLost), errors.Is(err, errSpool):
			return err
		case final(err):
			return refusal(err)
		case b.enough(err):
			return refused(err)
		}
		b.limited(err)
		if !errors.Is(err, ErrTicket) || b.tries > 0 {
			u.waits(err)
		}
		u.track.move(p.Number, 0)
		u.s.o.Logger.Debug("put part", "transfer", u.id, "part", p.Number, "error", err)
		if err := b.wait(ctx, err); err != nil {
			return err
		}
	}
}

func (u *upload) putOnce(ctx context.Context, p store.TransferPart, c *content) (string, error) {
	tickets, err := u.s.o.Blobs.BlobTickets(ctx, u.blob, []wire.BlobPart{{Number: p.Number, Size: p.Size}})
	if err != nil {
		return "", err
	}
	if len(tickets) != 1 {
		return "", errors.New("the server sent no ticket")
	}
	// Only one request reads part bytes at a time; the store processes the previous ones
	// meanwhile. After a crash at most one part is half sent.
	select {
	case u.leaving <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	left := sync.OnceFunc(func() { <-u.leaving })
	defer left()
	if err := c.open(); err != nil {
		return "", err
	}
	u.track.setPhase(local.PhaseSending)
	return u.s.o.Blobs.PutPart(ctx, tickets[0], p.Size, countingAt{c, u.track, p, left})
}

// isStored records that the server has a part and removes its spool file. The state of a
// single part is not recorded, so that a retry can send it again from the beginning.
func (u *upload) isStored(ctx context.Context, p store.TransferPart, etag string) error {
	if !u.single() {
		err := u.retryLocal(ctx, func() error {
			return u.s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.PartIsStored(u.id, p.Number, etag) })
		})
		if err != nil {
			return err
		}
		if err := u.s.spool.remove(u.id, p.Number); err != nil {
			return err
		}
	}
	u.done(p, etag)
	return nil
}

// refused ends an upload after repeated nonsensical answers of the server or of a proxy.
func refused(err error) error {
	return &failure{store.ReasonFileRefused, fmt.Sprintf("the server, or a proxy in front of it, does not accept the file: %v", err)}
}

// done counts a part that the server has.
func (u *upload) done(p store.TransferPart, etag string) {
	u.proceeds()
	u.mu.Lock()
	u.stored[p.Number] = wire.BlobPart{Number: p.Number, Size: p.Size, ETag: etag}
	sealed := int64(0)
	for _, part := range u.stored {
		sealed += part.Size
	}
	u.mu.Unlock()
	u.track.move(p.Number, 0)
	u.track.setDone(sealed)
}

// countingAt reports the progress of a part, and calls left when its last byte was read.
type countingAt struct {
	r     *content
	track *tracker
	part  store.TransferPart
	left  func()
}

// ReadAt implements io.ReaderAt.
func (c countingAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(b, off)
	c.track.move(c.part.Number, off+int64(n))
	if off+int64(n) >= c.part.Size {
		c.left()
		c.r.forget()
	}
	return n, err
}
