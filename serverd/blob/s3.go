package blob

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Options configure an S3.
type S3Options struct {
	Endpoint  *url.URL // https://HOST[:PORT], or http:// on this machine
	Region    string
	Bucket    string
	Prefix    string // prefix of every key; this server owns everything below it
	AccessKey string
	SecretKey string
	Roots     *x509.CertPool // nil for the system's
	Now       func() time.Time
}

const (
	// s3Timeout bounds one call to the store. Completing a large multipart upload takes a while.
	s3Timeout = time.Minute
	// s3Page is the number of entries listed at once, S3's own maximum.
	s3Page = 1000
)

// S3 is the backend for an S3 store. Clients exchange parts with the store directly, by presigned URLs
// (multipart uploads); the bytes never pass through the server.
type S3 struct {
	core *minio.Core // constant
	opt  S3Options   // constant
	http *http.Transport

	tickets, failures atomic.Int64

	mu   sync.Mutex
	late []aborted // guarded by mu; oldest first
}

// OpenS3 creates the backend. It does not connect yet.
func OpenS3(opt S3Options) (*S3, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: s3Timeout}).DialContext, TLSHandshakeTimeout: s3Timeout, ResponseHeaderTimeout: s3Timeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opt.Roots}, MaxIdleConnsPerHost: 8, IdleConnTimeout: s3Timeout,
	}
	core, err := minio.NewCore(opt.Endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(opt.AccessKey, opt.SecretKey, ""), Secure: opt.Endpoint.Scheme == "https",
		Region: opt.Region, BucketLookup: minio.BucketLookupPath, Transport: t, MaxRetries: 3,
	})
	if err != nil {
		return nil, fmt.Errorf("blobs: s3: %w", err)
	}
	return &S3{core: core, opt: opt, http: t}, nil
}

func (s *S3) key(id [16]byte) string { return s.opt.Prefix + FormatID(id) }

// Create begins a multipart upload and returns S3's upload id.
func (s *S3) Create(ctx context.Context, id [16]byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	upload, err := s.core.NewMultipartUpload(ctx, s.opt.Bucket, s.key(id), minio.PutObjectOptions{ContentType: "application/octet-stream"})
	return upload, s.failed("create", err)
}

// PutURL presigns the upload of one part, including its length.
func (s *S3) PutURL(ctx context.Context, t Ticket, upload string, number int, size int64) (string, error) {
	q := url.Values{"uploadId": {upload}, "partNumber": {strconv.Itoa(number)}}
	return s.presign(ctx, http.MethodPut, t, q, http.Header{"Content-Length": {strconv.FormatInt(size, 10)}})
}

// GetURL presigns the download.
func (s *S3) GetURL(ctx context.Context, t Ticket) (string, error) {
	return s.presign(ctx, http.MethodGet, t, nil, nil)
}

// presign counts a ticket's lifetime from the current time of S3's clock, which may differ from the
// server's.
func (s *S3) presign(ctx context.Context, method string, t Ticket, q url.Values, h http.Header) (string, error) {
	life := max(t.Expires.Sub(s.opt.Now()).Truncate(time.Second), time.Second)
	u, err := s.core.PresignHeader(ctx, method, s.opt.Bucket, s.key(t.ID), life, q, h)
	if err != nil {
		return "", s.failed("sign", err)
	}
	s.tickets.Add(1)
	return u.String(), nil
}

// Parts lists the parts of an upload.
func (s *S3) Parts(ctx context.Context, id [16]byte, upload string) ([]Part, error) {
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	var out []Part
	for marker := 0; ; {
		page, err := s.core.ListObjectParts(ctx, s.opt.Bucket, s.key(id), upload, marker, s3Page)
		if err != nil {
			return nil, s.failed("list parts", err)
		}
		for _, p := range page.ObjectParts {
			out = append(out, Part{Number: p.PartNumber, Size: p.Size, ETag: strings.Trim(p.ETag, `"`)})
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			break
		}
		marker = page.NextPartNumberMarker
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// Complete completes the multipart upload.
func (s *S3) Complete(ctx context.Context, id [16]byte, upload string, parts []Part) error {
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	stored, err := s.Parts(ctx, id, upload)
	if errors.Is(err, ErrNotFound) {
		return s.completed(ctx, id, parts)
	}
	if err != nil {
		return err
	}
	// An upload is within its tickets only if the store checked the signed length; so check again.
	if len(parts) == 0 || len(stored) < len(parts) || !slices.Equal(stored[:len(parts)], parts) {
		return ErrConflict
	}
	list := make([]minio.CompletePart, 0, len(parts))
	for i, p := range parts {
		if p.Number != i+1 {
			return ErrConflict
		}
		list = append(list, minio.CompletePart{PartNumber: p.Number, ETag: p.ETag})
	}
	_, err = s.core.CompleteMultipartUpload(ctx, s.opt.Bucket, s.key(id), upload, list, minio.PutObjectOptions{})
	if err = s.failed("complete", err); errors.Is(err, ErrNotFound) {
		return s.completed(ctx, id, parts)
	}
	return err
}

// completed checks whether a missing upload has become the blob.
func (s *S3) completed(ctx context.Context, id [16]byte, parts []Part) error {
	info, err := s.core.StatObject(ctx, s.opt.Bucket, s.key(id), minio.StatObjectOptions{})
	if err != nil {
		return s.failed("complete", err)
	}
	var size int64
	for _, p := range parts {
		size += p.Size
	}
	if size != info.Size {
		return ErrConflict
	}
	return nil
}

// Delete aborts every upload of the key and removes the object. A part that is being uploaded meanwhile
// may stay in the store although its upload is no longer listed. So each upload is checked again at
// once, and once more by AbortAgain.
func (s *S3) Delete(ctx context.Context, id [16]byte) error {
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.opt.Bucket, s.key(id), "", "", "", s3Page)
		if err != nil {
			return s.failed("delete", err)
		}
		found := 0
		for _, u := range page.Uploads {
			if u.Key != s.key(id) {
				continue
			}
			found++
			s.remember(aborted{u.Key, u.UploadID, s.opt.Now()})
			if err := s.abort(ctx, u.Key, u.UploadID); err != nil {
				return err
			}
		}
		if found == 0 || !page.IsTruncated {
			break
		}
	}
	err := s.core.RemoveObject(ctx, s.opt.Bucket, s.key(id), minio.RemoveObjectOptions{})
	if err = s.failed("delete", err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// List merges objects and uploads, both of which S3 lists in the order of keys.
func (s *S3) List(ctx context.Context, after [16]byte, limit int) ([][16]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	var ids [][16]byte
	// Entries after the end of a truncated page are left for the next call.
	var cut []string
	objects, err := s.core.ListObjectsV2(s.opt.Bucket, s.opt.Prefix, s.key(after), "", "", limit)
	if err != nil {
		return nil, s.failed("list", err)
	}
	for _, o := range objects.Contents {
		ids = s.appendID(ids, o.Key, after)
	}
	if objects.IsTruncated && len(objects.Contents) > 0 {
		cut = append(cut, objects.Contents[len(objects.Contents)-1].Key)
	}
	uploads, err := s.core.ListMultipartUploads(ctx, s.opt.Bucket, s.opt.Prefix, s.key(after), "", "", limit)
	if err != nil {
		return nil, s.failed("list", err)
	}
	for _, u := range uploads.Uploads {
		ids = s.appendID(ids, u.Key, after)
	}
	if uploads.IsTruncated && len(uploads.Uploads) > 0 {
		cut = append(cut, uploads.Uploads[len(uploads.Uploads)-1].Key)
	}
	ids = slices.DeleteFunc(ids, func(id [16]byte) bool {
		return slices.ContainsFunc(cut, func(last string) bool { return s.key(id) > last })
	})
	slices.SortFunc(ids, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	return ids[:min(len(ids), limit)], nil
}

// appendID adds the id of a key, unless the key is not one of ours.
func (s *S3) appendID(ids [][16]byte, key string, after [16]byte) [][16]byte {
	text, below := strings.CutPrefix(key, s.opt.Prefix)
	if id, ok := ParseID(text); ok && below && bytes.Compare(id[:], after[:]) > 0 {
		ids = append(ids, id)
	}
	return ids
}

// Ping checks that the bucket exists.
func (s *S3) Ping(ctx context.Context) error {
	ok, err := s.core.BucketExists(ctx, s.opt.Bucket)
	if err != nil {
		return s.failed("ping", err)
	}
	if !ok {
		return fmt.Errorf("blobs: s3: there is no bucket %s", s.opt.Bucket)
	}
	return nil
}

// Counters count calls to the store since the start.
func (s *S3) Counters() map[string]int64 {
	return map[string]int64{"tickets": s.tickets.Load(), "failures": s.failures.Load()}
}

// Close closes idle connections.
func (s *S3) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// failed adds the operation, and maps S3's errors to the sentinels that callers branch on.
func (s *S3) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	switch minio.ToErrorResponse(err).Code {
	case minio.NoSuchKey, minio.NoSuchUpload:
		return fmt.Errorf("blobs: s3: %s: %w", op, ErrNotFound)
	case minio.InvalidPart, minio.InvalidPartOrder, minio.EntityTooSmall:
		return fmt.Errorf("blobs: s3: %s: %w: %w", op, ErrConflict, err)
	case "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage":
		return fmt.Errorf("blobs: s3: %s: %w: %w", op, ErrFull, err)
	}
	s.failures.Add(1)
	return fmt.Errorf("blobs: s3: %s: %w", op, err)
}
