// Package ratchet is the session between two devices: a hybrid handshake of the
// shape of PQXDH (X25519 and ML-KEM-768) and a double ratchet with header
// encryption, committed messages, bounded skipping and a post-quantum ratchet
// (SPEC "Session").
//
// A [Session] never changes. Seal and Open return the next session beside their
// result, and the caller commits both, or neither, in one transaction; a failed
// Open leaves nothing to undo. Message keys that were skipped are handed to the
// caller, who keeps them in rows of its own and deletes the one that was used.
// A [Set] holds the sessions with one device and decides which of them sends.
//
// The package is pure: no I/O, no clock (now is a parameter), no goroutine, no
// log. Its only input besides arguments is crypto/rand. All methods may be used
// concurrently.
package ratchet
