package blob

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/rpc/wire"
)

const (
	// abortTries is how often an upload is aborted in a row while parts keep arriving.
	abortTries = 3
	// abortAgain is when an aborted upload is checked once more: by then its tickets have long expired,
	// and every part under way has arrived or failed.
	abortAgain = 2 * wire.BlobTicketLife
	// maxLate bounds the uploads remembered for that. A bucket rule that aborts old uploads takes care
	// of the rest (serverd/OPERATIONS.md).
	maxLate = 10_000
)

// aborted is an upload that was aborted.
type aborted struct {
	key, upload string
	at          time.Time
}

// abort aborts an upload until the store has no part of it.
func (s *S3) abort(ctx context.Context, key, upload string) error {
	for range abortTries {
		err := s.core.AbortMultipartUpload(ctx, s.opt.Bucket, key, upload)
		if err = s.failed("delete", err); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		page, err := s.core.ListObjectParts(ctx, s.opt.Bucket, key, upload, 0, 1)
		if err != nil {
			if err = s.failed("delete", err); errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		}
		if len(page.ObjectParts) == 0 {
			return nil
		}
	}
	return fmt.Errorf("blobs: s3: delete: parts of an aborted upload are still coming")
}

func (s *S3) remember(a aborted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.late) < maxLate {
		s.late = append(s.late, a)
	}
}

// AbortAgain repeats the abort of uploads that were aborted long enough ago, for parts that were under
// way then. The sweeper calls it.
func (s *S3) AbortAgain(ctx context.Context) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		if len(s.late) == 0 || s.opt.Now().Sub(s.late[0].at) < abortAgain {
			s.mu.Unlock()
			return nil
		}
		next := s.late[0]
		s.mu.Unlock()
		if err := s.abort(ctx, next.key, next.upload); err != nil {
			return err // the next sweep tries again
		}
		s.mu.Lock()
		s.late = s.late[1:]
		s.mu.Unlock()
	}
	return ctx.Err()
}
