// Package seal implements the sealed boxes outside of the ratchet: the padding and the committed AEAD
// of envelopes, file streams, the storage key and its wrapping under a passphrase, and the HPKE boxes
// for a locked profile and for probes.
//
// Everything is a pure function of its arguments and of crypto/rand. The package does no I/O, and every
// function is safe for concurrent use. Goroutines exist only inside [FileCipher.SealPart] and
// [FileCipher.OpenPart], which wait for them. Plaintext is returned only after authentication: of an
// envelope or value as a whole, of a file by part.
package seal

import "errors"

// Errors that the functions of this package wrap.
var (
	// ErrFormat means that sealed data does not have the form of this version: a wrong length, an
	// unknown version byte, or a parameter out of bounds.
	ErrFormat = errors.New("malformed sealed data")
	// ErrOpen means that sealed data did not authenticate: a wrong key, other associated data, or
	// changed bytes.
	ErrOpen = errors.New("sealed data does not authenticate")
	// ErrCommitment means that data was sealed under another key than the one used to open it.
	ErrCommitment = errors.New("sealed data commits to another key")
	// ErrPassphrase means that the passphrase differs from the one used to wrap.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrPadding means that padded data is not an output of Pad.
	ErrPadding = errors.New("malformed padding")
)
