// Package ratchet implements the session between two devices: a hybrid handshake modelled on PQXDH
// (X25519 and ML-KEM-768) and a double ratchet with header encryption, committed messages, bounded
// skipping and a post-quantum ratchet (SPEC "Session").
//
// A [Session] is immutable. Seal and Open return the next session with their result, and the caller
// commits both or neither in one transaction; a failed Open leaves nothing to undo. Skipped message
// keys are returned to the caller, who stores them in separate rows and deletes a key once it was used.
// A [Set] holds the sessions with one device and decides which of them sends.
//
// The package is pure: no I/O, no clock (now is a parameter), no goroutine, no log. Its only input
// besides arguments is crypto/rand. All methods are safe for concurrent use.
package ratchet
