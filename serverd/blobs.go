package serverd

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"secmsg/config"
	"secmsg/serverd/api"
	"secmsg/serverd/blob"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

const (
	// blobDir holds the blobs in the data directory, unless the configuration says otherwise.
	blobDir = "blobs"
	// blobKeyLabel derives the key of blob URLs from the token key by HKDF-SHA256 (RFC 5869), so that
	// the URL key cannot sign tokens and does not reveal the token key.
	blobKeyLabel = "secmsg blob urls v1"
	// sweepBatch is how many blobs are handled between two checks of the context.
	sweepBatch = 100
	// orphansEvery is how often bytes without a row are looked for. Only a database restored from a
	// backup, and a power loss during a deletion, leave such bytes.
	orphansEvery = 6 * time.Hour
	// blobPing is how long a result of the store's check is reused: S3 is checked over the network, and
	// anybody may ask for the health.
	blobPing = 15 * time.Second
	// maxSecret bounds a file that contains an S3 key, in bytes.
	maxSecret = 4 << 10
)

// blobs is the blob store and its upkeep.
type blobs struct {
	// constant
	store  blob.Store
	rows   store.Blobs
	now    func() time.Time
	held   func() bool
	every  time.Duration
	logger *slog.Logger
	kick   chan struct{} // capacity 1: there is something to delete

	after [16]byte // where the last sweep ended; owned by run

	mu     sync.Mutex // guards below
	pinged time.Time
	health error
}

// openBlobs opens the configured store and returns the API's options for it, or nil if the API is not
// served.
func (s *Server) openBlobs(tokenKey []byte) (*api.BlobOptions, error) {
	if !s.serves(config.RoleAPI) {
		return nil, nil
	}
	b := &blobs{
		rows: s.store, now: s.clock.Now, held: s.clockHeld, every: s.cfg.Limits.Sweep,
		logger: s.logger.With("part", "blobs"), kick: make(chan struct{}, 1),
	}
	var err error
	if s.cfg.Blob.S3.Endpoint != "" {
		b.store, err = s.openS3()
	} else {
		b.store, err = s.openDisk(tokenKey, b.logger)
	}
	if err != nil {
		return nil, err
	}
	s.blobs = b
	s.stats.Counters("blobs", b.store.Counters)
	s.stats.Check("blobs", b.check)
	l := s.cfg.Limits.Blobs
	return &api.BlobOptions{
		Store: b.store, Retention: l.Retention, Unfinished: l.Unfinished, Swept: b.wake,
		New:    limit.Rate(l.New),
		Limits: store.BlobLimits{Quota: int64(l.Quota), Size: int64(l.Size), Count: l.Count, Unfinished: l.Uploads},
	}, nil
}

func (s *Server) openDisk(tokenKey []byte, logger *slog.Logger) (blob.Store, error) {
	key, err := hkdf.Key(sha256.New, tokenKey, nil, blobKeyLabel, blob.KeySize)
	if err != nil {
		return nil, fmt.Errorf("key of blob URLs: %w", err)
	}
	l := s.cfg.Limits.Blobs
	return blob.OpenDisk(blob.DiskOptions{
		Dir: s.path(cmp.Or(s.cfg.Blob.Dir, blobDir)), Key: key, Stall: l.Stall, Parallel: l.Transfers, Bandwidth: int64(l.Bandwidth),
		Authenticated: welcomeContext, Now: s.clock.Now, Logger: logger,
		// s.api is created with this store; no request comes before that.
		Allowed: func(ctx context.Context, account string) error { return s.api.MayTransfer(ctx, account) },
	})
}

func (s *Server) openS3() (blob.Store, error) {
	c := s.cfg.Blob.S3
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("blob.s3.endpoint: %w", err)
	}
	opt := blob.S3Options{
		Endpoint: endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Now: s.clock.Now,
	}
	for _, f := range []struct {
		path string
		into *string
	}{{c.AccessKeyFile, &opt.AccessKey}, {c.SecretKeyFile, &opt.SecretKey}} {
		if f.path == "" {
			continue
		}
		text, err := os.ReadFile(s.path(f.path))
		if err != nil {
			return nil, fmt.Errorf("blob.s3: %w", err)
		}
		if *f.into = strings.TrimSpace(string(text)); *f.into == "" || len(text) > maxSecret {
			return nil, fmt.Errorf("blob.s3: %s contains no key", filepath.Base(f.path))
		}
	}
	if c.CA != "" {
		text, err := os.ReadFile(s.path(c.CA))
		if err != nil {
			return nil, fmt.Errorf("blob.s3.ca: %w", err)
		}
		opt.Roots = x509.NewCertPool()
		if !opt.Roots.AppendCertsFromPEM(text) {
			return nil, errors.New("blob.s3.ca: contains no certificate")
		}
	}
	return blob.OpenS3(opt)
}

// wake triggers a sweep now.
func (b *blobs) wake() {
	if b == nil {
		return
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// run sweeps until ctx ends.
func (b *blobs) run(ctx context.Context) {
	if b == nil {
		return
	}
	tick := time.NewTicker(b.every)
	defer tick.Stop()
	var orphans time.Time
	for {
		if err := b.sweep(ctx); err != nil && ctx.Err() == nil {
			b.logger.Error("could not sweep blobs", "error", err)
		}
		if s3, ok := b.store.(*blob.S3); ok {
			if err := s3.AbortAgain(ctx); err != nil && ctx.Err() == nil {
				b.logger.Error("could not abort uploads again", "error", err)
			}
		}
		if time.Since(orphans) >= orphansEvery && !b.held() {
			orphans = time.Now()
			if err := b.sweepOrphans(ctx); err != nil && ctx.Err() == nil {
				b.logger.Error("could not sweep blobs without a row", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-b.kick:
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes the bytes of dead blobs, and of expired ones unless the clock is held; then their rows,
// which ends their reservations. A blob that cannot be deleted does not hold up others: a sweep ends
// after a batch of failures, and the next one continues after it.
func (b *blobs) sweep(ctx context.Context) error {
	if err := b.expire(ctx); err != nil {
		return err
	}
	var failed error
	failures, round := 0, b.after == [16]byte{}
	for ctx.Err() == nil {
		ids, err := b.rows.DeadBlobs(ctx, b.after, sweepBatch)
		if err != nil {
			return err
		}
		gone := make([][16]byte, 0, len(ids))
		for _, id := range ids {
			if err := b.store.Delete(ctx, id); err != nil {
				failed = err
				failures++
				continue
			}
			gone = append(gone, id)
		}
		if len(gone) > 0 {
			if err := b.rows.ForgetBlobs(ctx, gone); err != nil {
				return err
			}
		}
		if len(ids) == sweepBatch {
			b.after = ids[len(ids)-1]
		} else {
			b.after = [16]byte{}
		}
		if failures >= sweepBatch {
			return failed
		}
		if len(ids) < sweepBatch {
			if round {
				return failed
			}
			round = true // next, the blobs before the end of the last sweep
		}
	}
	return ctx.Err()
}

// expire marks expired blobs as dead.
func (b *blobs) expire(ctx context.Context) error {
	for ctx.Err() == nil && !b.held() {
		n, err := b.rows.ExpireBlobs(ctx, b.now(), sweepBatch)
		if err != nil || n < sweepBatch {
			return err
		}
	}
	return ctx.Err()
}

// sweepOrphans deletes bytes without a row. Rows are created before bytes, so this does not affect an
// upload that is just beginning.
func (b *blobs) sweepOrphans(ctx context.Context) error {
	var after [16]byte
	var failed error
	for ctx.Err() == nil {
		ids, err := b.store.List(ctx, after, sweepBatch)
		if err != nil || len(ids) == 0 {
			return errors.Join(err, failed)
		}
		known, err := b.rows.KnownBlobs(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if known[id] {
				continue
			}
			if err := b.store.Delete(ctx, id); err != nil {
				failed = err
				continue // continue with the others
			}
			b.logger.Warn("deleted a blob without an owner", "blob", blob.FormatID(id))
		}
		after = ids[len(ids)-1]
	}
	return ctx.Err()
}

// check is the store's part of the server's health.
func (b *blobs) check(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pinged.IsZero() || time.Since(b.pinged) >= blobPing || b.health != nil {
		b.health, b.pinged = b.store.Ping(ctx), time.Now()
	}
	return b.health
}

// close releases the store.
func (b *blobs) close() error {
	if b == nil {
		return nil
	}
	return b.store.Close()
}
