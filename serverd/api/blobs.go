package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/wire"
	"secmsg/serverd/blob"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

// Bounds of request bodies in bytes.
const (
	createBlobBody = 32 << 10 // 256 names of at most 64 bytes
	ticketsBody    = 16 << 10 // 32 parts with ETags
)

// BlobOptions make the API serve blobs.
type BlobOptions struct {
	Store blob.Store
	// Limits are the operator's. A zero field means its default.
	Limits     store.BlobLimits
	New        limit.Rate    // blobs that an account may begin
	Retention  time.Duration // how long a complete blob is kept
	Unfinished time.Duration // how long an upload is kept after its last ticket
	Swept      func()        // called when a blob is to be deleted; may be nil
}

// Defaults (rpc/DELIVERY.md, "Limits").
const (
	defaultBlobQuota      = 10 << 30
	defaultBlobSize       = 2 << 30
	defaultBlobCount      = 20_000
	defaultBlobUnfinished = 1_000
	defaultBlobRetention  = 30 * 24 * time.Hour
	defaultUploadLife     = 24 * time.Hour
)

func (o BlobOptions) withDefaults() BlobOptions {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.Limits.Quota, defaultBlobQuota)
	set(&o.Limits.Size, defaultBlobSize)
	set(&o.Limits.MinPart, wire.MinBlobPart)
	set((*int64)(&o.Retention), int64(defaultBlobRetention))
	set((*int64)(&o.Unfinished), int64(defaultUploadLife))
	if o.Limits.Count <= 0 {
		o.Limits.Count = defaultBlobCount
	}
	if o.Limits.Unfinished <= 0 {
		o.Limits.Unfinished = defaultBlobUnfinished
	}
	if o.New.Burst <= 0 || o.New.Every <= 0 {
		o.New = limit.Rate{Burst: 1_000, Every: 100 * time.Millisecond}
	}
	// The number and size of parts bound the size of a blob, too.
	o.Limits.Size = min(o.Limits.Size, wire.MaxBlobParts*wire.BlobPartSize)
	return o
}

// errNoBlob returns the one answer for every blob that the caller may not see, whether it exists or not
// (attack D10, crypto/ATTACKS.md).
func errNoBlob() error { return refuse(wire.CodeNotFound, "no such blob") }

type blobInput struct {
	ID string `path:"id" maxLength:"128" doc:"the blob's id"`
}

// ownBlob returns one of the caller's blobs.
func (a *API) ownBlob(ctx context.Context, text string) (store.Blob, error) {
	// An invalid id is looked up like any other, as the zero id, which no blob has.
	id, _ := blob.ParseID(text)
	b, err := a.opt.Store.OwnBlob(ctx, id, callerOf(ctx).account, a.opt.Now())
	if err != nil {
		return b, a.blobError(ctx, err)
	}
	return b, nil
}

// blobError maps errors of the two stores.
func (a *API) blobError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, blob.ErrNotFound):
		return errNoBlob()
	case errors.Is(err, store.ErrTooLarge):
		return refuse(wire.CodeTooLarge, "the blob is larger than allowed or declared")
	case errors.Is(err, store.ErrFull):
		return refuse(wire.CodeQuota, "the account's quota of files is used up")
	case errors.Is(err, store.ErrConflict), errors.Is(err, blob.ErrConflict):
		return refuse(wire.CodeConflict, "the parts differ from the reserved and stored ones, or the blob is complete")
	case errors.Is(err, blob.ErrFull):
		a.opt.Logger.ErrorContext(ctx, "the blob store is full", "request", requestID(ctx), "error", err)
		return &wire.Error{Code: wire.CodeUnavailable, Message: "the server's storage is full", RetryAfter: 10}
	}
	return fmt.Errorf("blob: %w", err)
}

// storeError maps an error of the blob store. An unexpected error is reported as an outage.
func (a *API) storeError(ctx context.Context, err error) error {
	mapped := a.blobError(ctx, err)
	if _, known := errors.AsType[*wire.Error](mapped); known {
		return mapped
	}
	if ctx.Err() == nil {
		a.opt.Logger.ErrorContext(ctx, "the blob store failed", "request", requestID(ctx), "error", err)
	}
	return &wire.Error{Code: wire.CodeUnavailable, Message: "the server's blob store is not available at the moment", RetryAfter: 5}
}

// postBlob serves POST /v1/blobs.
func (a *API) postBlob(ctx context.Context, in *body[wire.CreateBlob]) (*answer[wire.Blob], error) {
	o, r := a.blobs, in.Body
	if ok, wait := a.uploads.Take(callerOf(ctx).account); !ok {
		return nil, limited(wait)
	}
	if len(r.Readers) > wire.MaxBlobReaders {
		return nil, refuse(wire.CodeMalformed, "readers: more than %d", wire.MaxBlobReaders)
	}
	for _, name := range r.Readers {
		if identity.ValidUser(name) != nil {
			return nil, refuse(wire.CodeMalformed, "readers: invalid account name")
		}
	}
	if r.Size < 0 || r.LifeMS < 0 {
		return nil, refuse(wire.CodeMalformed, "size, life_ms: must not be negative")
	}
	life := o.Retention
	if r.LifeMS > 0 && r.LifeMS < life.Milliseconds() {
		life = time.Duration(r.LifeMS) * time.Millisecond
	}
	now := a.opt.Now()
	b := store.Blob{
		ID: blob.NewID(), Owner: callerOf(ctx).account, State: store.BlobOpen, Declared: r.Size, Reserved: r.Size,
		Created: now, Expires: now.Add(o.Unfinished), Life: life,
	}
	if err := a.opt.Store.CreateBlob(ctx, b, r.Readers, o.Limits); err != nil {
		return nil, a.blobError(ctx, err)
	}
	upload, err := o.Store.Create(ctx, b.ID)
	if err == nil && upload != "" {
		err = a.opt.Store.SetBlobUpload(ctx, b.ID, upload)
	}
	if err != nil {
		// The row must not hold a reservation for an upload that does not exist.
		ctx := context.WithoutCancel(ctx)
		if drop := a.dropBlob(ctx, b); drop != nil {
			a.opt.Logger.ErrorContext(ctx, "an upload that could not begin was not dropped", "error", drop)
		}
		return nil, a.storeError(ctx, err)
	}
	return a.describe(b, nil)
}

// describe answers with a blob as its owner sees it.
func (a *API) describe(b store.Blob, parts []blob.Part) (*answer[wire.Blob], error) {
	out := wire.Blob{
		ID: blob.FormatID(b.ID), Complete: b.State == store.BlobComplete, Size: b.Size, ExpiresMS: b.Expires.UnixMilli(),
		MaxSize: a.blobs.Limits.Size, Downloads: b.Downloads, Parts: make([]wire.BlobPart, 0, len(parts)),
	}
	var stored int64
	for _, p := range parts {
		out.Parts = append(out.Parts, wire.BlobPart(p))
		stored += p.Size
	}
	switch {
	case out.Complete:
	case b.Declared > 0:
		out.Size = b.Declared
	default:
		out.Size = stored
	}
	return &answer[wire.Blob]{out}, nil
}

// getBlobUsage serves GET /v1/blobs.
func (a *API) getBlobUsage(ctx context.Context, _ *struct{}) (*answer[wire.BlobUsage], error) {
	u, err := a.opt.Store.BlobUsage(ctx, callerOf(ctx).account)
	if err != nil {
		return nil, a.blobError(ctx, err)
	}
	limits := a.blobs.Limits
	out := wire.BlobUsage{Bytes: u.Bytes, Quota: limits.Quota, Blobs: u.Blobs, MaxBlobs: limits.Count, MaxSize: limits.Size}
	if u.Quota > 0 {
		out.Quota = u.Quota
	}
	return &answer[wire.BlobUsage]{out}, nil
}

// getBlob serves GET /v1/blobs/{id}.
func (a *API) getBlob(ctx context.Context, in *blobInput) (*answer[wire.Blob], error) {
	b, err := a.ownBlob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if b.State == store.BlobComplete {
		return a.describe(b, nil)
	}
	parts, err := a.blobs.Store.Parts(ctx, b.ID, b.Upload)
	if errors.Is(err, blob.ErrNotFound) {
		return a.finish(ctx, b)
	}
	if err != nil {
		return nil, a.storeError(ctx, err)
	}
	return a.describe(b, parts)
}

// finish repairs the result of a crash between the two stores: the bytes are a complete blob, but the
// row does not say so.
func (a *API) finish(ctx context.Context, b store.Blob) (*answer[wire.Blob], error) {
	reserved, err := a.opt.Store.BlobParts(ctx, b.ID)
	if err != nil {
		return nil, a.blobError(ctx, err)
	}
	named := make([]blob.Part, 0, len(reserved))
	for _, p := range reserved {
		named = append(named, blob.Part{Number: p.Number, Size: p.Size})
	}
	if err := a.blobs.Store.Complete(ctx, b.ID, b.Upload, named); err != nil {
		if errors.Is(err, blob.ErrConflict) {
			err = blob.ErrNotFound // the client has nothing to continue with
		}
		return nil, a.storeError(ctx, err)
	}
	now := a.opt.Now()
	if err := a.opt.Store.CompleteBlob(ctx, b.ID, b.Owner, reserved, now, now.Add(b.Life)); err != nil {
		return nil, a.blobError(ctx, err)
	}
	if b, err = a.ownBlob(ctx, blob.FormatID(b.ID)); err != nil {
		return nil, err
	}
	return a.describe(b, nil)
}

type ticketsInput struct {
	ID   string `path:"id" maxLength:"128" doc:"the blob's id"`
	Body wire.BlobTickets
}

// postBlobTickets serves POST /v1/blobs/{id}/tickets.
func (a *API) postBlobTickets(ctx context.Context, in *ticketsInput) (*answer[wire.BlobTicketList], error) {
	parts, err := checkParts(in.Body.Parts)
	if err != nil {
		return nil, err
	}
	b, err := a.ownBlob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	now := a.opt.Now()
	expires := now.Add(a.blobs.Unfinished)
	if end := b.Created.Add(a.blobs.Retention); expires.After(end) {
		expires = end
	}
	if err := a.opt.Store.ReserveParts(ctx, b.ID, b.Owner, parts, now, expires, a.blobs.Limits); err != nil {
		return nil, a.blobError(ctx, err)
	}
	t := blob.Ticket{ID: b.ID, Account: b.Owner, Expires: now.Add(wire.BlobTicketLife)}
	out := wire.BlobTicketList{Tickets: make([]wire.BlobTicket, 0, len(parts))}
	for _, p := range parts {
		u, err := a.blobs.Store.PutURL(ctx, t, b.Upload, p.Number, p.Size)
		if err != nil {
			return nil, a.storeError(ctx, err)
		}
		out.Tickets = append(out.Tickets, wire.BlobTicket{Number: p.Number, URL: u, ExpiresMS: t.Expires.UnixMilli()})
	}
	return &answer[wire.BlobTicketList]{out}, nil
}

// checkParts checks the sizes and the numbers of parts. Each number may occur once.
func checkParts(in []wire.BlobPart) ([]store.BlobPart, error) {
	if len(in) == 0 || len(in) > wire.MaxBlobTickets {
		return nil, refuse(wire.CodeMalformed, "parts: 1 to %d", wire.MaxBlobTickets)
	}
	seen := make(map[int]bool, len(in))
	out := make([]store.BlobPart, 0, len(in))
	for _, p := range in {
		if p.Number < 1 || p.Number > wire.MaxBlobParts || seen[p.Number] {
			return nil, refuse(wire.CodeMalformed, "parts: numbers are 1 to %d, each once", wire.MaxBlobParts)
		}
		if p.Size < 1 || p.Size > wire.BlobPartSize {
			return nil, refuse(wire.CodeMalformed, "parts: a part has 1 to %d bytes", wire.BlobPartSize)
		}
		seen[p.Number] = true
		out = append(out, store.BlobPart{Number: p.Number, Size: p.Size})
	}
	return out, nil
}

type completeInput struct {
	ID   string `path:"id" maxLength:"128" doc:"the blob's id"`
	Body wire.CompleteBlob
}

// postBlobComplete serves POST /v1/blobs/{id}/complete. The bytes are completed first, so that a blob
// whose row says complete can be fetched.
func (a *API) postBlobComplete(ctx context.Context, in *completeInput) (*answer[wire.Blob], error) {
	etags := in.Body.ETags
	if len(etags) == 0 || len(etags) > wire.MaxBlobParts || in.Body.Size < 1 {
		return nil, refuse(wire.CodeMalformed, "etags: 1 to %d, and the size of the whole", wire.MaxBlobParts)
	}
	b, err := a.ownBlob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	parts, err := a.opt.Store.BlobParts(ctx, b.ID)
	if err != nil {
		return nil, a.blobError(ctx, err)
	}
	// Refuse parts that are not the whole blob as it was reserved before the blob store completes it.
	if len(parts) < len(etags) {
		return nil, a.blobError(ctx, store.ErrConflict)
	}
	parts = parts[:len(etags)]
	named := make([]blob.Part, 0, len(parts))
	var total int64
	for i, p := range parts {
		if p.Number != i+1 {
			return nil, a.blobError(ctx, store.ErrConflict)
		}
		named = append(named, blob.Part{Number: p.Number, Size: p.Size, ETag: bareETag(etags[i])})
		total += p.Size
	}
	if total != in.Body.Size || b.Declared > 0 && total != b.Declared {
		return nil, a.blobError(ctx, store.ErrConflict)
	}
	if b.State == store.BlobComplete {
		// A repeated call does not use the store's only writer.
		if total != b.Size {
			return nil, a.blobError(ctx, store.ErrConflict)
		}
		return a.describe(b, nil)
	}
	if err := a.blobs.Store.Complete(ctx, b.ID, b.Upload, named); err != nil {
		return nil, a.storeError(ctx, err)
	}
	now := a.opt.Now()
	if err := a.opt.Store.CompleteBlob(ctx, b.ID, b.Owner, parts, now, now.Add(b.Life)); err != nil {
		return nil, a.blobError(ctx, err)
	}
	if b, err = a.ownBlob(ctx, in.ID); err != nil {
		return nil, err
	}
	return a.describe(b, nil)
}

// bareETag removes the quotes of an entity tag, so that a client may repeat the ETag header as it came
// (RFC 9110, section 8.8.3).
func bareETag(tag string) string {
	if bare, ok := strings.CutPrefix(tag, `"`); ok {
		if bare, ok = strings.CutSuffix(bare, `"`); ok {
			return bare
		}
	}
	return tag
}

// postBlobDownload serves POST /v1/blobs/{id}/download.
func (a *API) postBlobDownload(ctx context.Context, in *blobInput) (*answer[wire.BlobDownload], error) {
	c, now := callerOf(ctx), a.opt.Now()
	id, _ := blob.ParseID(in.ID)
	b, err := a.opt.Store.ReadableBlob(ctx, id, c.account, now)
	if err != nil {
		return nil, a.blobError(ctx, err)
	}
	t := blob.Ticket{ID: b.ID, Account: c.account, Expires: now.Add(wire.BlobTicketLife)}
	if t.Expires.After(b.Expires) {
		t.Expires = b.Expires
	}
	u, err := a.blobs.Store.GetURL(ctx, t)
	if err != nil {
		return nil, a.storeError(ctx, err)
	}
	if c.account != b.Owner {
		if err := a.opt.Store.CountDownload(ctx, b.ID); err != nil {
			// On a full disk, stored blobs can still be fetched; only the count suffers.
			a.opt.Logger.Warn("could not count a download", "error", err)
		}
	}
	return &answer[wire.BlobDownload]{wire.BlobDownload{
		Ticket: wire.BlobTicket{URL: u, ExpiresMS: t.Expires.UnixMilli()}, Size: b.Size, ExpiresMS: b.Expires.UnixMilli(),
	}}, nil
}

// deleteBlob serves DELETE /v1/blobs/{id}. Once it has answered, nobody gets a ticket for the blob. The
// bytes are deleted at once if possible, otherwise with the next sweep.
func (a *API) deleteBlob(ctx context.Context, in *blobInput) (*empty, error) {
	b, err := a.ownBlob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.dropBlob(context.WithoutCancel(ctx), b); err != nil {
		return nil, a.blobError(ctx, err)
	}
	return nil, nil
}

func (a *API) dropBlob(ctx context.Context, b store.Blob) error {
	if err := a.opt.Store.DropBlob(ctx, b.ID, b.Owner, a.opt.Now()); err != nil {
		return err
	}
	if a.blobs.Swept != nil {
		a.blobs.Swept()
	}
	return nil
}

// MayTransfer reports whether an account may still use its tickets. A suspended or deleted account may
// not. Every error is a *wire.Error.
func (a *API) MayTransfer(ctx context.Context, account string) error {
	acc, err := a.opt.Store.Account(ctx, account)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(wire.CodeForbidden, "the account is gone")
	case err != nil:
		if ctx.Err() == nil {
			a.opt.Logger.ErrorContext(ctx, "account could not be read", "request", requestID(ctx), "error", err)
		}
		return refuse(wire.CodeUnavailable, "the server cannot check the account now")
	case acc.Suspended:
		return refuse(wire.CodeSuspended, "the account is suspended")
	}
	return nil
}
