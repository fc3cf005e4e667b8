package store

import (
	"encoding/binary"
	"errors"
	"time"

	"secmsg/crypto/key"
)

// errRow means that a row was not written by this version.
var errRow = errors.New("malformed row")

// toMS returns t in Unix milliseconds, or 0 for the zero time.
func toMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMS is the inverse of toMS, in UTC.
func fromMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// blob returns b as a value for a NOT NULL column.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// encodeChain writes each certificate with its length in front.
func encodeChain(chain [][]byte) []byte {
	out := []byte{}
	for _, c := range chain {
		out = binary.AppendUvarint(out, uint64(len(c)))
		out = append(out, c...)
	}
	return out
}

// decodeChain is the inverse of encodeChain.
func decodeChain(b []byte) ([][]byte, error) {
	var chain [][]byte
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, errRow
		}
		chain = append(chain, b[size:size+int(n)])
		b = b[size+int(n):]
	}
	return chain, nil
}

// deviceColumn scans a 16-byte device id; an empty column is the zero id.
type deviceColumn struct{ id *key.DeviceID }

// Scan implements sql.Scanner.
func (d deviceColumn) Scan(src any) error { return scanFixed(src, d.id[:]) }

// hashColumn scans a 32-byte hash.
type hashColumn struct{ hash *[32]byte }

// Scan implements sql.Scanner.
func (h hashColumn) Scan(src any) error { return scanFixed(src, h.hash[:]) }

// idColumn scans a 16-byte message id.
type idColumn struct{ id *[16]byte }

// Scan implements sql.Scanner.
func (i idColumn) Scan(src any) error { return scanFixed(src, i.id[:]) }

func scanFixed(src any, dst []byte) error {
	b, ok := src.([]byte)
	if !ok || (len(b) != len(dst) && len(b) != 0) {
		return errRow
	}
	copy(dst, b)
	return nil
}

// timeColumn scans Unix milliseconds.
type timeColumn struct{ t *time.Time }

// Scan implements sql.Scanner.
func (c timeColumn) Scan(src any) error {
	ms, ok := src.(int64)
	if !ok {
		return errRow
	}
	*c.t = fromMS(ms)
	return nil
}
