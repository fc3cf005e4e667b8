// Package key holds one opaque type for each role that a key can have: Ed25519
// for signatures, X25519 for key exchange, ML-KEM-768 for post-quantum key
// encapsulation, and the device id that is derived from a device's public keys.
//
// A value of a public type is either zero or was parsed strictly, so code that
// holds one need not check it again. A private type keeps its secret [Hidden],
// cannot be compared, has no marshaller and prints as "(redacted)" in every
// verb; copies share the secret, and Wipe ends it for all of them.
//
// The package does no I/O and starts no goroutine. All methods but Wipe may be
// used concurrently; Wipe must not run beside another use of the same secret.
package key

import "errors"

// Errors that the parsers and the operations of this package wrap.
var (
	// ErrLength says that an encoding does not have the one length allowed.
	ErrLength = errors.New("wrong length")
	// ErrEncoding says that an encoding is not the canonical one.
	ErrEncoding = errors.New("not a canonical encoding")
	// ErrLowOrder says that a point has small order, so that a shared secret
	// or a signature under it would prove nothing (SPEC "Keys and encodings").
	ErrLowOrder = errors.New("point of small order")
	// ErrNoKey says that a zero or wiped key was used.
	ErrNoKey = errors.New("key is empty or wiped")
)
