package seal

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/key"
)

// SealPart appends the sealed form of a part, numbered from 1, to dst, which must not overlap plain:
// the header (part 1 only) and the chunks. plain has [FilePartPlain] bytes; the last part may have
// fewer, and may be empty only if it is part 1. Up to GOMAXPROCS goroutines seal the chunks; they end
// before SealPart returns. If dst has enough capacity, no other buffer is allocated. SealPart returns
// [ErrFormat] for another length or number and [key.ErrNoKey] after Wipe.
func (c *FileCipher) SealPart(dst, plain []byte, number int, last bool) ([]byte, error) {
	s := c.s.Get()
	n := len(plain)
	switch {
	case s == nil:
		return nil, fmt.Errorf("seal part %d: %w", number, key.ErrNoKey)
	case number < 1 || int64(number) > maxFileParts, n > FilePartPlain, n < FilePartPlain && !last, n == 0 && number > 1:
		return nil, fmt.Errorf("seal part %d of %d bytes: %w", number, n, ErrFormat)
	}
	chunks := max((n+FileChunkSize-1)/FileChunkSize, 1)
	var header []byte
	if number == 1 {
		header = s.header[:]
	}
	dst = append(slices.Grow(dst, len(header)+n+chunks*TagSize), header...)
	out := dst[len(dst) : len(dst)+n+chunks*TagSize]
	eachChunk(chunks, func(i int, nonce *[chacha20poly1305.NonceSize]byte) bool {
		p := plain[i*FileChunkSize : min((i+1)*FileChunkSize, n)]
		at := i * sealedChunkSize
		setNonce(nonce, firstChunk(number)+uint64(i), last && i == chunks-1)
		s.aead.Seal(out[at:at:at+len(p)+TagSize], nonce[:], p, nil)
		return true
	})
	return dst[:len(dst)+len(out)], nil
}

// OpenPart appends the plaintext of a part to dst, which must not overlap sealed. It checks the header
// of part 1 before anything else. last says that the file ends with this part, which the caller
// concludes from the file's declared length; if that length is wrong, the part does not open. Unless
// every chunk authenticates, nothing is returned, and the bytes written after dst are overwritten.
//
// A file is complete, and commits to this key, only when all its parts from 1 on were opened. OpenPart
// returns [ErrFormat], [ErrCommitment], [ErrOpen] and [key.ErrNoKey]. It uses goroutines like SealPart.
func (c *FileCipher) OpenPart(dst, sealed []byte, number int, last bool) ([]byte, error) {
	s := c.s.Get()
	switch {
	case s == nil:
		return nil, fmt.Errorf("open part %d: %w", number, key.ErrNoKey)
	case number < 1 || int64(number) > maxFileParts:
		return nil, fmt.Errorf("open part %d: %w", number, ErrFormat)
	}
	if number == 1 {
		header := sealed[:min(FileHeaderSize, len(sealed))]
		if err := s.checkHeader(header); err != nil {
			return nil, fmt.Errorf("open part 1: %w", err)
		}
		sealed = sealed[FileHeaderSize:]
	}
	n, err := plainSize(int64(len(sealed)), number == 1)
	if err != nil || n > FilePartPlain || n < FilePartPlain && !last {
		return nil, fmt.Errorf("open part %d of %d bytes: %w", number, len(sealed), ErrFormat)
	}
	chunks := (len(sealed) + sealedChunkSize - 1) / sealedChunkSize
	dst = slices.Grow(dst, int(n))
	out := dst[len(dst) : len(dst)+int(n)]
	ok := eachChunk(chunks, func(i int, nonce *[chacha20poly1305.NonceSize]byte) bool {
		ct := sealed[i*sealedChunkSize : min((i+1)*sealedChunkSize, len(sealed))]
		at := i * FileChunkSize
		setNonce(nonce, firstChunk(number)+uint64(i), last && i == chunks-1)
		_, err := s.aead.Open(out[at:at:at+len(ct)-TagSize], nonce[:], ct, nil)
		return err == nil
	})
	if !ok {
		clear(out)
		return nil, fmt.Errorf("open part %d: %w", number, ErrOpen)
	}
	return dst[:len(dst)+len(out)], nil
}

// firstChunk is the index of the first chunk of a part.
func firstChunk(number int) uint64 { return uint64(number-1) * FilePartChunks }

// eachChunk calls do for 0 to n-1 on up to GOMAXPROCS goroutines, including the caller's, and waits for
// them. Each goroutine has one nonce buffer, because a nonce on the stack would escape and be allocated
// for every chunk. Once do has returned false, eachChunk starts no new chunk and returns false.
func eachChunk(n int, do func(i int, nonce *[chacha20poly1305.NonceSize]byte) bool) bool {
	var next atomic.Int64
	var failed atomic.Bool
	work := func() {
		var nonce [chacha20poly1305.NonceSize]byte
		for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
			if !do(i, &nonce) {
				failed.Store(true)
			}
		}
	}
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return !failed.Load()
}
