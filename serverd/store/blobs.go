package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const blobColumns = `b.id, b.owner, b.upload, b.state, b.declared, b.reserved, b.size, b.created, b.expires, b.life, b.downloads`

const selectBlob = `SELECT ` + blobColumns + ` FROM blobs b WHERE b.id = ?`

func scanBlob(row scan) (Blob, error) {
	var b Blob
	var state, life int64
	err := row(idColumn{&b.ID}, &b.Owner, &b.Upload, &state, &b.Declared, &b.Reserved, &b.Size,
		timeColumn{&b.Created}, timeColumn{&b.Expires}, &life, &b.Downloads)
	b.State, b.Life = BlobState(state), time.Duration(life)*time.Millisecond
	return b, err
}

// CreateBlob stores an open blob.
func (s *SQLite) CreateBlob(ctx context.Context, b Blob, readers []string, limits BlobLimits) error {
	return s.write(ctx, "create blob", func(t *tx) error {
		// The owner may have just been deleted; the next account of that name must not get this blob.
		if _, err := accountIn(t, b.Owner); err != nil {
			return err
		}
		if b.Declared > limits.Size {
			return ErrTooLarge
		}
		u, err := blobUsage(t, b.Owner)
		if err != nil {
			return err
		}
		if u.Blobs >= limits.Count || u.Unfinished >= limits.Unfinished || b.Declared > limits.quota(u)-u.Bytes {
			return ErrFull
		}
		if _, err := t.exec(`INSERT INTO blobs (id, owner, upload, state, declared, reserved, size, created, expires, life, downloads) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 0)`,
			b.ID[:], b.Owner, b.Upload, int64(BlobOpen), b.Declared, b.Declared, toMS(b.Created), toMS(b.Expires), b.Life.Milliseconds()); err != nil {
			return err
		}
		for _, name := range readers {
			if _, err := t.exec(`INSERT INTO blob_readers (blob, account) SELECT ?, name FROM accounts WHERE name = ? ON CONFLICT DO NOTHING`, b.ID[:], name); err != nil {
				return err
			}
		}
		return nil
	})
}

// quota returns the quota of an account.
func (l BlobLimits) quota(u BlobUsage) int64 {
	if u.Quota > 0 {
		return u.Quota
	}
	return l.Quota
}

// blobUsage reads the sums that triggers maintain. An account's refused calls must cost the only writer
// the same however many blobs the account has.
func blobUsage(t *tx, account string) (BlobUsage, error) {
	var u BlobUsage
	err := t.get(queryBlobUsage, []any{account, account}, &u.Bytes, &u.Blobs, &u.Unfinished, &u.Quota)
	return u, err
}

const queryBlobUsage = `SELECT coalesce(max(bytes), 0), coalesce(max(blobs), 0), coalesce(max(unfinished), 0),
	coalesce((SELECT bytes FROM blob_quotas WHERE account = ?), 0) FROM blob_usage WHERE owner = ?`

// SetBlobUpload stores the backend's name for an upload.
func (s *SQLite) SetBlobUpload(ctx context.Context, id [16]byte, upload string) error {
	return s.write(ctx, "set blob upload", func(t *tx) error {
		return t.one(`UPDATE blobs SET upload = ? WHERE id = ? AND state = 1`, upload, id[:])
	})
}

// OwnBlob returns a blob of owner, or ErrNotFound.
func (s *SQLite) OwnBlob(ctx context.Context, id [16]byte, owner string, now time.Time) (Blob, error) {
	st, err := s.prepared(ctx, selectBlob+` AND b.owner = ? AND b.state <> 3 AND b.expires > ?`)
	if err != nil {
		return Blob{}, mapError("own blob", err)
	}
	b, err := scanBlob(st.QueryRowContext(ctx, id[:], owner, toMS(now)).Scan)
	return b, mapError("own blob", err)
}

// ReadableBlob returns a blob that account may fetch, or ErrNotFound.
func (s *SQLite) ReadableBlob(ctx context.Context, id [16]byte, account string, now time.Time) (Blob, error) {
	// All three look-ups run whatever the first one finds, so that an id that does not exist takes as
	// long as one that belongs to others.
	const query = `SELECT ` + blobColumns + `,
		EXISTS (SELECT 1 FROM blob_readers WHERE blob = k.id AND account = k.account),
		EXISTS (SELECT 1 FROM contacts WHERE owner = coalesce(b.owner, k.account) AND peer = k.account AND relation = 'blocked')
		FROM (SELECT ? AS id, ? AS account) k LEFT JOIN blobs b ON b.id = k.id`
	st, err := s.prepared(ctx, query)
	if err != nil {
		return Blob{}, mapError("readable blob", err)
	}
	var reader, blocked bool
	b, err := scanBlob(func(dest ...any) error {
		return nullRow(st.QueryRowContext(ctx, id[:], account), append(dest, &reader, &blocked))
	})
	if err == nil && (b.State != BlobComplete || !now.Before(b.Expires) || b.Owner != account && (!reader || blocked)) {
		err = sql.ErrNoRows
	}
	return b, mapError("readable blob", err)
}

// nullRow scans a row of a left join; a row without a match becomes sql.ErrNoRows.
func nullRow(row *sql.Row, dest []any) error {
	values := make([]any, len(dest))
	for i := range values {
		values[i] = &nullable{dest: dest[i]}
	}
	if err := row.Scan(values...); err != nil {
		return err
	}
	if values[0].(*nullable).null {
		return sql.ErrNoRows
	}
	return nil
}

// nullable scans into dest unless the column is NULL.
type nullable struct {
	dest any
	null bool
}

// Scan implements sql.Scanner.
func (n *nullable) Scan(src any) error {
	if n.null = src == nil; n.null {
		return nil
	}
	switch d := n.dest.(type) {
	case sql.Scanner:
		return d.Scan(src)
	case *string:
		v, ok := src.(string)
		*d = v
		return rowIf(ok)
	case *int64:
		v, ok := src.(int64)
		*d = v
		return rowIf(ok)
	case *int:
		v, ok := src.(int64)
		*d = int(v)
		return rowIf(ok)
	case *bool:
		v, ok := src.(int64)
		*d = v != 0
		return rowIf(ok)
	}
	return errRow
}

func rowIf(ok bool) error {
	if !ok {
		return errRow
	}
	return nil
}

// BlobParts returns the reserved parts by number.
func (s *SQLite) BlobParts(ctx context.Context, id [16]byte) ([]BlobPart, error) {
	var out []BlobPart
	err := s.list(ctx, `SELECT number, size FROM blob_parts WHERE blob = ? ORDER BY number`, []any{id[:]}, func(row scan) error {
		var p BlobPart
		err := row(&p.Number, &p.Size)
		out = append(out, p)
		return err
	})
	return out, mapError("blob parts", err)
}

// openBlob reads a blob of owner inside the writer. It does not find expired and dead blobs.
func openBlob(t *tx, id [16]byte, owner string, now time.Time) (Blob, error) {
	st, err := t.stmt(selectBlob)
	if err != nil {
		return Blob{}, err
	}
	b, err := scanBlob(st.QueryRowContext(context.Background(), id[:]).Scan)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (b.Owner != owner || b.State == BlobDead || !now.Before(b.Expires)) {
		return Blob{}, ErrNotFound
	}
	return b, err
}

// ReserveParts reserves sizes of parts.
func (s *SQLite) ReserveParts(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time, limits BlobLimits) error {
	return s.write(ctx, "reserve parts", func(t *tx) error {
		b, err := openBlob(t, id, owner, now)
		if err != nil {
			return err
		}
		if b.State != BlobOpen {
			return fmt.Errorf("%w: the blob is complete", ErrConflict)
		}
		var total int64
		if err := t.get(`SELECT taken FROM blobs WHERE id = ?`, []any{id[:]}, &total); err != nil {
			return err
		}
		for _, p := range parts {
			added, err := reservePart(t, id, p)
			if err != nil {
				return err
			}
			total += added
		}
		var small bool
		if err := t.get(querySmallPart, []any{id[:], limits.MinPart, id[:]}, &small); err != nil {
			return err
		}
		if small {
			return fmt.Errorf("%w: a part that is not the last is too small", ErrConflict)
		}
		if bound := limits.Size; total > bound || b.Declared > 0 && total > b.Declared {
			return ErrTooLarge
		}
		reserved := b.Declared
		if reserved == 0 {
			u, err := blobUsage(t, owner)
			if err != nil {
				return err
			}
			if reserved = total; u.Bytes-b.Reserved+reserved > limits.quota(u) {
				return ErrFull
			}
		}
		_, err = t.exec(`UPDATE blobs SET reserved = ?, taken = ?, expires = max(expires, ?) WHERE id = ?`, reserved, total, toMS(expires), id[:])
		return err
	})
}

// querySmallPart finds a part that is too small and not the last. Apart from the parts just reserved,
// there is at most one small part.
const querySmallPart = `SELECT EXISTS (SELECT 1 FROM blob_parts WHERE blob = ? AND size < ?
	AND number < (SELECT max(number) FROM blob_parts WHERE blob = ?))`

// reservePart adds a part and returns its size. It returns 0 if the part exists with the same size.
func reservePart(t *tx, id [16]byte, p BlobPart) (added int64, err error) {
	n, err := t.exec(`INSERT INTO blob_parts (blob, number, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, id[:], p.Number, p.Size)
	if err != nil || n > 0 {
		return p.Size, err
	}
	var have int64
	if err := t.get(`SELECT size FROM blob_parts WHERE blob = ? AND number = ?`, []any{id[:], p.Number}, &have); err != nil {
		return 0, err
	}
	if have != p.Size {
		return 0, fmt.Errorf("%w: part %d was reserved with another size", ErrConflict, p.Number)
	}
	return 0, nil
}

// CompleteBlob makes an open blob complete.
func (s *SQLite) CompleteBlob(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time) error {
	return s.write(ctx, "complete blob", func(t *tx) error {
		b, err := openBlob(t, id, owner, now)
		if err != nil {
			return err
		}
		size, err := sumParts(t, id, parts)
		if err != nil {
			return err
		}
		switch {
		case len(parts) == 0 || b.Declared > 0 && size != b.Declared:
			return fmt.Errorf("%w: the parts are not the whole blob", ErrConflict)
		case b.State == BlobComplete && size == b.Size:
			return nil
		case b.State == BlobComplete:
			return fmt.Errorf("%w: the blob is complete with other parts", ErrConflict)
		}
		if _, err := t.exec(`DELETE FROM blob_parts WHERE blob = ? AND number > ?`, id[:], len(parts)); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE blobs SET state = 2, size = ?, reserved = ?, taken = ?, expires = ? WHERE id = ?`, size, size, size, toMS(expires), id[:])
		return err
	})
}

// sumParts returns the total size of the parts, which must be the first reserved ones.
func sumParts(t *tx, id [16]byte, parts []BlobPart) (int64, error) {
	var size int64
	at := 0
	err := t.list(`SELECT number, size FROM blob_parts WHERE blob = ? ORDER BY number LIMIT ?`, []any{id[:], len(parts)}, func(row scan) error {
		var have BlobPart
		if err := row(&have.Number, &have.Size); err != nil {
			return err
		}
		if have != parts[at] || have.Number != at+1 {
			return fmt.Errorf("%w: part %d is not reserved", ErrConflict, parts[at].Number)
		}
		size += have.Size
		at++
		return nil
	})
	if err == nil && at < len(parts) {
		err = fmt.Errorf("%w: part %d is not reserved", ErrConflict, parts[at].Number)
	}
	return size, err
}

// CountDownload counts a download of a blob.
func (s *SQLite) CountDownload(ctx context.Context, id [16]byte) error {
	return s.write(ctx, "count download", func(t *tx) error {
		_, err := t.exec(`UPDATE blobs SET downloads = downloads + 1 WHERE id = ?`, id[:])
		return err
	})
}

// DropBlob makes a blob of owner dead.
func (s *SQLite) DropBlob(ctx context.Context, id [16]byte, owner string, now time.Time) error {
	return s.write(ctx, "drop blob", func(t *tx) error {
		return t.one(`UPDATE blobs SET state = 3 WHERE id = ? AND owner = ? AND state <> 3 AND expires > ?`, id[:], owner, toMS(now))
	})
}

// dropBlobsOf makes all blobs of a deleted account dead. They lose their owner, so that they do not
// count for the next account of that name.
func dropBlobsOf(t *tx, account string) error {
	for _, q := range []string{
		`UPDATE blobs SET state = 3, owner = '' WHERE owner = ?`,
		`DELETE FROM blob_readers WHERE account = ?`,
		`DELETE FROM blob_quotas WHERE account = ?`,
	} {
		if _, err := t.exec(q, account); err != nil {
			return err
		}
	}
	return nil
}

// ExpireBlobs makes expired blobs dead.
func (s *SQLite) ExpireBlobs(ctx context.Context, now time.Time, limit int) (int, error) {
	const expired = `SELECT id FROM blobs WHERE expires <= ? AND state <> 3 LIMIT ?`
	var due bool
	if err := s.get(ctx, `SELECT EXISTS (`+expired+`)`, []any{toMS(now), 1}, &due); err != nil || !due {
		return 0, mapError("expire blobs", err) // a sweep that finds nothing costs no write
	}
	var n int64
	err := s.write(ctx, "expire blobs", func(t *tx) (err error) {
		n, err = t.exec(`UPDATE blobs SET state = 3 WHERE id IN (`+expired+`)`, toMS(now), limit)
		return err
	})
	return int(n), err
}

// DeadBlobs returns dead blobs.
func (s *SQLite) DeadBlobs(ctx context.Context, after [16]byte, limit int) ([][16]byte, error) {
	var out [][16]byte
	err := s.list(ctx, `SELECT id FROM blobs INDEXED BY blobs_dead WHERE state = 3 AND id > ? ORDER BY id LIMIT ?`, []any{after[:], limit}, func(row scan) error {
		var id [16]byte
		err := row(idColumn{&id})
		out = append(out, id)
		return err
	})
	return out, mapError("dead blobs", err)
}

// ForgetBlobs removes the rows of dead blobs.
func (s *SQLite) ForgetBlobs(ctx context.Context, ids [][16]byte) error {
	return s.write(ctx, "forget blobs", func(t *tx) error {
		for _, id := range ids {
			n, err := t.exec(`DELETE FROM blobs WHERE id = ? AND state = 3`, id[:])
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			for _, q := range []string{`DELETE FROM blob_parts WHERE blob = ?`, `DELETE FROM blob_readers WHERE blob = ?`} {
				if _, err := t.exec(q, id[:]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// KnownBlobs returns those of ids that have a row.
func (s *SQLite) KnownBlobs(ctx context.Context, ids [][16]byte) (map[[16]byte]bool, error) {
	known := make(map[[16]byte]bool, len(ids))
	for _, id := range ids {
		var n int
		if err := s.get(ctx, `SELECT count(*) FROM blobs WHERE id = ?`, []any{id[:]}, &n); err != nil {
			return nil, mapError("known blobs", err)
		}
		if n > 0 {
			known[id] = true
		}
	}
	return known, nil
}

// BlobUsage returns an account's use of blobs.
func (s *SQLite) BlobUsage(ctx context.Context, account string) (BlobUsage, error) {
	var u BlobUsage
	err := s.get(ctx, queryBlobUsage, []any{account, account}, &u.Bytes, &u.Blobs, &u.Unfinished, &u.Quota)
	return u, mapError("blob usage", err)
}

// SetBlobQuota gives an account its own quota.
func (s *SQLite) SetBlobQuota(ctx context.Context, account string, bytes int64) error {
	return s.write(ctx, "set blob quota", func(t *tx) error {
		if _, err := accountIn(t, account); err != nil {
			return err
		}
		if bytes == 0 {
			_, err := t.exec(`DELETE FROM blob_quotas WHERE account = ?`, account)
			return err
		}
		_, err := t.exec(`INSERT INTO blob_quotas (account, bytes) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET bytes = excluded.bytes`, account, bytes)
		return err
	})
}
