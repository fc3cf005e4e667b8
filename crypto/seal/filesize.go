package seal

import (
	"fmt"
	"math"
)

// Sizes of a sealed file in bytes (SPEC "File streams").
const (
	// FileChunkSize is the plaintext length of a full chunk, as in age: the tags add 0.02 percent, and
	// a chunk fits into a core's cache.
	FileChunkSize = 64 << 10
	// FileHeaderSize is the length of version byte and key commitment.
	FileHeaderSize = 1 + CommitmentSize
	// FilePartChunks is the number of chunks of a part.
	FilePartChunks = 128
	// FilePartPlain is the plaintext length of a full part: 8 MiB.
	FilePartPlain = FilePartChunks * FileChunkSize

	sealedChunkSize = FileChunkSize + TagSize
	sealedPartSize  = FilePartChunks * sealedChunkSize

	// maxFileParts bounds part numbers, so that no offset exceeds an int64.
	maxFileParts = math.MaxInt64/sealedPartSize - 1
	// maxFileChunks bounds the nonce's counter for the same reason; the nonce itself has room for 2^88.
	maxFileChunks = maxFileParts * FilePartChunks
	// MaxSealedFile bounds a sealed file: about 2^63 bytes.
	MaxSealedFile = FileHeaderSize + maxFileParts*sealedPartSize
)

// SealedFileSize returns the length of the sealed form of plain bytes. It returns [ErrFormat] for a
// negative size, and for one whose sealed form is longer than [MaxSealedFile].
func SealedFileSize(plain int64) (int64, error) {
	if plain < 0 || plain > maxFileChunks*FileChunkSize {
		return 0, fmt.Errorf("seal a file of %d bytes: %w", plain, ErrFormat)
	}
	chunks := (plain + FileChunkSize - 1) / FileChunkSize // far below MaxInt64, as just checked
	return FileHeaderSize + plain + max(chunks, 1)*TagSize, nil
}

// PlainFileSize returns the plaintext length of a sealed file of the given length. It returns
// [ErrFormat] if no file has that sealed length.
func PlainFileSize(sealed int64) (int64, error) {
	if sealed < FileHeaderSize || sealed > MaxSealedFile {
		return 0, fmt.Errorf("sealed file of %d bytes: %w", sealed, ErrFormat)
	}
	plain, err := plainSize(sealed-FileHeaderSize, true)
	if err != nil {
		return 0, fmt.Errorf("sealed file of %d bytes: %w", sealed, err)
	}
	return plain, nil
}

// plainSize returns the plaintext length of consecutive chunks, up to the last one of the file, that
// have n bytes together. Only the first chunk of a file may be empty.
func plainSize(n int64, first bool) (int64, error) {
	full, rest := n/sealedChunkSize, n%sealedChunkSize
	switch {
	case n <= 0:
		return 0, ErrFormat
	case rest == 0:
		return full * FileChunkSize, nil
	case rest > TagSize, rest == TagSize && full == 0 && first:
		return full*FileChunkSize + rest - TagSize, nil
	}
	return 0, ErrFormat
}

// FileParts returns the number of parts of a sealed file of the given length, at least 1. It returns
// [ErrFormat] if no file has that sealed length.
func FileParts(sealedTotal int64) (int64, error) {
	if _, err := PlainFileSize(sealedTotal); err != nil {
		return 0, err
	}
	return (sealedTotal - FileHeaderSize + sealedPartSize - 1) / sealedPartSize, nil
}

// SealedPart returns the byte range of a part, numbered from 1, in a sealed file of the given length.
// Part 1 begins with the header. The part that ends at sealedTotal is the last one. It returns
// [ErrFormat] if no file has that sealed length or the file has no such part.
func SealedPart(number int, sealedTotal int64) (offset, length int64, err error) {
	parts, err := FileParts(sealedTotal)
	if err != nil {
		return 0, 0, err
	}
	if number < 1 || int64(number) > parts {
		return 0, 0, fmt.Errorf("part %d of %d: %w", number, parts, ErrFormat)
	}
	end := min(FileHeaderSize+int64(number)*sealedPartSize, sealedTotal)
	if number > 1 {
		offset = FileHeaderSize + int64(number-1)*sealedPartSize
	}
	return offset, end - offset, nil
}
