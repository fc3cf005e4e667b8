// Package seal holds the sealed boxes that are not a ratchet: the padding and
// the committed AEAD that envelopes use, file streams, the storage key and its
// wrapping under a passphrase, and the HPKE boxes for a locked profile and for
// probes.
//
// Everything is a pure function of its arguments and of crypto/rand; the
// package does no I/O, and every function may be used concurrently. Goroutines
// exist only inside [FileCipher.SealPart] and [FileCipher.OpenPart], which wait
// for them. Plaintext is returned only after it was authenticated: an envelope
// or value whole, a file by the part.
package seal

import "errors"

// Errors that the functions of this package wrap.
var (
	// ErrFormat says that sealed data does not have the form of this version:
	// a wrong length, an unknown version byte, a parameter out of bounds.
	ErrFormat = errors.New("malformed sealed data")
	// ErrOpen says that sealed data did not authenticate: a wrong key, other
	// associated data, or bytes that were changed.
	ErrOpen = errors.New("sealed data does not authenticate")
	// ErrCommitment says that sealed data was made under another key than the
	// one it is opened with.
	ErrCommitment = errors.New("sealed data commits to another key")
	// ErrPassphrase says that a passphrase is not the one used to wrap.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrPadding says that padded data is not what Pad makes.
	ErrPadding = errors.New("malformed padding")
)
