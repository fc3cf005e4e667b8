// Package identity implements identities: addresses, the realm's certificate authority and its account
// certificates, the realm statement, invites, device manifests, signed prekeys, proofs of possession
// and safety numbers.
//
// Signed structures are parsed strictly, in exactly one encoding each, and are returned only after
// their signature was checked. The time is always a parameter. The package does no I/O, keeps no state
// and starts no goroutine; every function is safe for concurrent use. crypto/SPEC.md defines the
// layouts.
package identity

import (
	"errors"
	"time"
)

// Errors that callers branch on. Every error of this package wraps one of them, or one of package
// key's.
var (
	// ErrFormat means that bytes or text do not have the form of this version.
	ErrFormat = errors.New("malformed")
	// ErrSignature means that a signature does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrChain means that certificates are not a chain of the realm: not leaf and issuing CA, an
	// invalid signature, or a wrong profile.
	ErrChain = errors.New("certificate chain is not valid")
	// ErrName means that something valid names another account or domain.
	ErrName = errors.New("names another account or domain")
	// ErrExpired means that something is valid except that it has expired.
	ErrExpired = errors.New("expired")
	// ErrNotYetValid means that something is valid except that its validity has not begun: a clock is
	// wrong.
	ErrNotYetValid = errors.New("not yet valid")
	// ErrOlder means that a manifest is older than a known one.
	ErrOlder = errors.New("older than the known manifest")
	// ErrFork means that two manifests contradict each other: they have the same version, or
	// consecutive ones are not linked.
	ErrFork = errors.New("manifest history is forked")
	// ErrMismatch means that two safety numbers differ.
	ErrMismatch = errors.New("safety numbers differ")
)

// Lifetimes (SPEC "Realm").
const (
	// RootLifetime is the lifetime of a realm's root certificate.
	RootLifetime = 10 * 365 * day
	// IssuingLifetime is the lifetime of an issuing CA.
	IssuingLifetime = 365 * day
	// IssuingRenewAfter is the age at which an issuing CA is replaced, so that a leaf issued just
	// before has its full lifetime.
	IssuingRenewAfter = IssuingLifetime / 2
	// AccountLifetime is the lifetime of an account certificate.
	AccountLifetime = 90 * day
	// AccountGrace is how long an expired certificate is still accepted for a key that was pinned
	// earlier.
	AccountGrace = 30 * day
	// ServerLifetime is the lifetime of a TLS certificate from the realm's own CA.
	ServerLifetime = 90 * day
	// StatementLifetime is the longest lifetime of a realm statement.
	StatementLifetime = 7 * day
	// ClockSkew is how far certificates and statements are dated back, so that a client with a slightly
	// slow clock can use them at once.
	ClockSkew = time.Hour

	day = 24 * time.Hour
)

// version is the first byte of every binary structure. Only this version exists; others are refused, so
// there is nothing to downgrade to.
const version = 1
