// Package identity says who is who: addresses, the realm's certificate
// authority and its account certificates, the realm statement, invites, device
// manifests, signed prekeys, proofs of possession and safety numbers.
//
// Signed things are parsed strictly, in one encoding each, and are handed out
// only after their signature was checked. The time is always a parameter. The
// package does no I/O, keeps no state and starts no goroutine; every function
// may be used concurrently. The layouts stand in crypto/SPEC.md.
package identity

import (
	"errors"
	"time"
)

// Errors on which callers branch. Every error of this package wraps one of
// them, or one of package key's.
var (
	// ErrFormat says that bytes or text do not have the form of this version.
	ErrFormat = errors.New("malformed")
	// ErrSignature says that a signature does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrChain says that certificates do not form a chain of the realm: other
	// than leaf and issuing CA, a broken signature, a wrong profile.
	ErrChain = errors.New("certificate chain is not valid")
	// ErrName says that something valid names another account or domain.
	ErrName = errors.New("names another account or domain")
	// ErrExpired says that something is otherwise valid, but no longer.
	ErrExpired = errors.New("expired")
	// ErrNotYetValid says that something is otherwise valid, but not yet: a
	// clock is wrong.
	ErrNotYetValid = errors.New("not yet valid")
	// ErrOlder says that a manifest is older than one already known.
	ErrOlder = errors.New("older than the known manifest")
	// ErrFork says that two manifests contradict each other: two of one
	// version, or a broken link between consecutive ones.
	ErrFork = errors.New("manifest history is forked")
	// ErrMismatch says that two safety numbers differ.
	ErrMismatch = errors.New("safety numbers differ")
)

// Lifetimes (SPEC "Realm").
const (
	// RootLifetime is the life of a realm's root certificate.
	RootLifetime = 10 * 365 * day
	// IssuingLifetime is the life of an issuing CA.
	IssuingLifetime = 365 * day
	// IssuingRenewAfter is the age at which an issuing CA is replaced, so that
	// a leaf issued just before still has its whole life.
	IssuingRenewAfter = IssuingLifetime / 2
	// AccountLifetime is the life of an account certificate.
	AccountLifetime = 90 * day
	// AccountGrace is how long after its expiry a certificate is still good for
	// a key that was pinned before.
	AccountGrace = 30 * day
	// ServerLifetime is the life of a TLS certificate from the realm's own CA.
	ServerLifetime = 90 * day
	// StatementLifetime is the longest life of a realm statement.
	StatementLifetime = 7 * day
	// ClockSkew is how far certificates and statements are dated back, so that
	// a client whose clock is a little slow can use them at once.
	ClockSkew = time.Hour

	day = 24 * time.Hour
)

// version is the first byte of every binary structure. There is one; others
// are refused, so that nothing can be downgraded.
const version = 1
