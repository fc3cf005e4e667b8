package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/key"
)

// labelFile derives a file's chunk key and commitment from its file key. It keeps a file key from being
// usable as any other secret of the protocol.
const labelFile = "secmsg v1 file stream"

// The last byte of a chunk's nonce (SPEC "File streams"). It makes a nonce differ if a file was cut or
// extended at a chunk's border.
const (
	flagMore = 0
	flagLast = 1
)

// FileCipher seals and opens the chunks of one file. It is safe for concurrent use; only Wipe must not
// run concurrently with another method.
//
// A chunk's position alone determines its nonce. Sealing different plaintext at the same position under
// the same key would break the cipher, so the caller seals each part once and, when it repeats a part,
// sends the sealed bytes again.
type FileCipher struct {
	key.Redacted
	s key.Hidden[fileSecret]
}

type fileSecret struct {
	aead   cipher.AEAD
	header [FileHeaderSize]byte
}

// NewFileCipher derives the keys for sealing and opening the file of k. It returns [key.ErrNoKey] for a
// zero or wiped key.
func NewFileCipher(k FileKey) (*FileCipher, error) {
	b := k.s.Get()
	if b == nil {
		return nil, fmt.Errorf("file cipher: %w", key.ErrNoKey)
	}
	d, err := hkdf.Key(sha512.New, b[:], nil, labelFile, chacha20poly1305.KeySize+CommitmentSize)
	if err != nil {
		return nil, fmt.Errorf("file cipher: %w", err)
	}
	defer clear(d)
	aead, err := chacha20poly1305.New(d[:chacha20poly1305.KeySize])
	if err != nil {
		return nil, fmt.Errorf("file cipher: %w", err)
	}
	s := &fileSecret{aead: aead}
	s.header[0] = version
	copy(s.header[1:], d[chacha20poly1305.KeySize:])
	return &FileCipher{s: key.Hide(s)}, nil
}

// Wipe drops the derived key; every later call returns [key.ErrNoKey].
func (c *FileCipher) Wipe() { c.s.Drop() }

// AppendHeader appends the header of the sealed file to dst: version and key commitment. It returns
// [key.ErrNoKey] after Wipe.
func (c *FileCipher) AppendHeader(dst []byte) ([]byte, error) {
	s := c.s.Get()
	if s == nil {
		return nil, fmt.Errorf("file header: %w", key.ErrNoKey)
	}
	return append(dst, s.header[:]...), nil
}

// CheckHeader compares the first [FileHeaderSize] bytes of a sealed file with this key's header, in
// constant time: ChaCha20-Poly1305 alone lets a sender create one file that opens under two keys. It
// returns [ErrFormat] for another length or version, [ErrCommitment] and [key.ErrNoKey].
func (c *FileCipher) CheckHeader(header []byte) error {
	s := c.s.Get()
	if s == nil {
		return fmt.Errorf("file header: %w", key.ErrNoKey)
	}
	return s.checkHeader(header)
}

func (s *fileSecret) checkHeader(header []byte) error {
	if len(header) != FileHeaderSize || header[0] != version {
		return fmt.Errorf("file header of %d bytes: %w", len(header), ErrFormat)
	}
	if subtle.ConstantTimeCompare(header[1:], s.header[1:]) != 1 {
		return fmt.Errorf("file header: %w", ErrCommitment)
	}
	return nil
}

// SealChunk appends the sealed form of the chunk at index, from 0, to dst, which must not overlap
// plain. plain has [FileChunkSize] bytes; the last chunk may have fewer, and may be empty only at index
// 0. SealChunk returns [ErrFormat] for another length and [key.ErrNoKey] after Wipe.
func (c *FileCipher) SealChunk(dst, plain []byte, index uint64, last bool) ([]byte, error) {
	s := c.s.Get()
	switch {
	case s == nil:
		return nil, fmt.Errorf("seal chunk %d: %w", index, key.ErrNoKey)
	case !chunkFits(len(plain), index, last):
		return nil, fmt.Errorf("seal chunk %d of %d bytes: %w", index, len(plain), ErrFormat)
	}
	var nonce [chacha20poly1305.NonceSize]byte
	setNonce(&nonce, index, last)
	return s.aead.Seal(slices.Grow(dst, len(plain)+TagSize), nonce[:], plain, nil), nil
}

// OpenChunk appends the plaintext of the chunk at index to dst, which must not overlap sealed. The
// caller must check that the file is complete and commits to this key. OpenChunk returns [ErrFormat],
// [ErrOpen] and [key.ErrNoKey].
func (c *FileCipher) OpenChunk(dst, sealed []byte, index uint64, last bool) ([]byte, error) {
	s := c.s.Get()
	switch {
	case s == nil:
		return nil, fmt.Errorf("open chunk %d: %w", index, key.ErrNoKey)
	case !chunkFits(len(sealed)-TagSize, index, last):
		return nil, fmt.Errorf("open chunk %d of %d bytes: %w", index, len(sealed), ErrFormat)
	}
	var nonce [chacha20poly1305.NonceSize]byte
	setNonce(&nonce, index, last)
	out, err := s.aead.Open(slices.Grow(dst, len(sealed)-TagSize), nonce[:], sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("open chunk %d: %w", index, ErrOpen)
	}
	return out, nil
}

// chunkFits reports whether a chunk of n bytes of plaintext is allowed at index.
func chunkFits(n int, index uint64, last bool) bool {
	switch {
	case index >= maxFileChunks || n > FileChunkSize:
		return false
	case n == FileChunkSize:
		return true
	}
	return last && (n > 0 || n == 0 && index == 0)
}

// setNonce writes the nonce of a chunk: its index in 11 bytes, big-endian, and the last flag.
func setNonce(nonce *[chacha20poly1305.NonceSize]byte, index uint64, last bool) {
	const flagAt = chacha20poly1305.NonceSize - 1
	clear(nonce[:flagAt-8])
	binary.BigEndian.PutUint64(nonce[flagAt-8:flagAt], index)
	nonce[flagAt] = flagMore
	if last {
		nonce[flagAt] = flagLast
	}
}
