package ratchet

import (
	"encoding/binary"
	"fmt"
)

// reader reads fields from a byte string. The first field that is missing or out of bounds sets err;
// later reads return zero values, so that a parser checks only once, at the end. Nothing is allocated
// for a length that the input does not have.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", what, ErrFormat)
	}
}

// take returns the next n bytes as a slice of the input, or nil.
func (r *reader) take(n int, what string) []byte {
	if r.err != nil || n > len(r.rest) {
		r.fail(what)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8(what string) uint8 {
	if b := r.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(what string) uint16 {
	if b := r.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bool reads a byte that is 0 or 1.
func (r *reader) bool(what string) bool {
	v := r.u8(what)
	if v > 1 {
		r.fail(what)
	}
	return v == 1
}

// sized reads a 16-bit length of at most limit and that many bytes.
func (r *reader) sized(limit int, what string) []byte {
	n := int(r.u16(what))
	if n > limit {
		r.fail(what)
		return nil
	}
	return r.take(n, what)
}

func (r *reader) copy32(dst *[32]byte, what string) {
	copy(dst[:], r.take(len(dst), what))
}

// end sets an error unless everything was read.
func (r *reader) end(what string) error {
	if len(r.rest) != 0 {
		r.fail(what)
	}
	return r.err
}

// appendSized appends a 16-bit length and b. Every caller has bounded b.
func appendSized(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

// appendItem appends a 32-bit length and b, as in every hash of several items.
func appendItem(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	return append(dst, b...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
