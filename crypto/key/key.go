// Package key has one opaque type for each role of a key: Ed25519 for signatures, X25519 for key
// exchange, ML-KEM-768 for post-quantum key encapsulation, and the device id that is derived from a
// device's public keys.
//
// A value of a public type is either zero or was parsed strictly, so its users need not check it again.
// A private type keeps its secret [Hidden], cannot be compared, has no marshaller and prints as
// "(redacted)" for every verb. Copies share the secret, and Wipe ends it for all of them.
//
// The package does no I/O and starts no goroutine. All methods except Wipe are safe for concurrent use;
// Wipe must not run concurrently with another use of the same secret.
package key

import "errors"

// Errors that the parsers and the operations of this package wrap.
var (
	// ErrLength means that an encoding does not have the only allowed length.
	ErrLength = errors.New("wrong length")
	// ErrEncoding means that an encoding is not canonical.
	ErrEncoding = errors.New("not a canonical encoding")
	// ErrLowOrder means that a point has small order, so that a shared secret or a signature under it
	// would prove nothing (SPEC "Keys and encodings").
	ErrLowOrder = errors.New("point of small order")
	// ErrNoKey means that a zero or wiped key was used.
	ErrNoKey = errors.New("key is empty or wiped")
)
