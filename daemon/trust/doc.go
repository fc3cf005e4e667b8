// Package trust decides whose keys are believed: it pins the identity key of a
// peer on first contact, admits certificate chains and device manifests under
// that pin, notices changed keys, and holds contacts, policies and
// verifications. It looks at nothing but the store and its arguments; whoever
// has a network brings the answers.
//
// Every decision is made inside a transaction, so that a key that changes
// between a check and its use cannot be missed. A Trust keeps no state of its
// own but a bounded cache of what it has verified; it has no goroutines and is
// safe for concurrent use.
package trust

import "errors"

// Errors on which callers branch.
var (
	// ErrUnknownPeer says that nothing is known of the peer, or not enough to
	// send: it must be looked up first.
	ErrUnknownPeer = errors.New("nothing is known of this peer")
	// ErrChanged says that the peer's certified key is not the pinned one and
	// that the user has not decided yet.
	ErrChanged = errors.New("the peer's identity key has changed")
	// ErrBlocked says that the user blocked the peer.
	ErrBlocked = errors.New("the peer is blocked")
	// ErrUnverified says that the policy asks for a verified peer.
	ErrUnverified = errors.New("the peer is not verified")
	// ErrCertificate says that a certificate chain does not certify the peer
	// in this realm, or not now.
	ErrCertificate = errors.New("the peer's certificate is not valid")
	// ErrManifest says that a device manifest is not signed by the pinned key,
	// or contradicts one that is known.
	ErrManifest = errors.New("the peer's device manifest is not valid")
	// ErrDevice says that a device is not in the peer's newest manifest.
	ErrDevice = errors.New("the device is not one of the peer's")
	// ErrRealm says that an address belongs to another realm.
	ErrRealm = errors.New("the address belongs to another realm")
	// ErrRevoked says that the own account's newest manifest omits this device.
	ErrRevoked = errors.New("this device was removed from its account")
)
