// Package trust decides which keys are trusted. It pins a peer's identity key on first
// contact, admits certificate chains and device manifests signed under that pin, detects
// changed keys, and manages contacts, policies and verifications. It reads only the store
// and its arguments; callers do the network requests.
//
// Every decision is made inside a transaction, so that a key cannot change between a check
// and its use. A Trust has no state of its own, except for a bounded cache of verified
// data. It has no goroutines and is safe for concurrent use.
package trust

import "errors"

// Errors that callers distinguish.
var (
	// ErrUnknownPeer: too little is known about the peer to send. A look-up is needed.
	ErrUnknownPeer = errors.New("the peer is unknown")
	// ErrChanged: the peer's certified key is not the pinned one, and the user has not
	// decided yet.
	ErrChanged = errors.New("the peer's identity key has changed")
	// ErrBlocked: the user has blocked the peer.
	ErrBlocked = errors.New("the peer is blocked")
	// ErrUnverified: the policy requires a verified peer.
	ErrUnverified = errors.New("the peer is not verified")
	// ErrCertificate: a certificate chain does not certify the peer in this realm, or is
	// not valid now.
	ErrCertificate = errors.New("the peer's certificate is not valid")
	// ErrManifest: a device manifest is not signed by the pinned key, or contradicts a
	// known one.
	ErrManifest = errors.New("the peer's device manifest is not valid")
	// ErrDevice: a device is not in the peer's newest manifest.
	ErrDevice = errors.New("the device does not belong to the peer")
	// ErrRealm: an address belongs to another realm.
	ErrRealm = errors.New("the address belongs to another realm")
	// ErrRevoked: the own account's newest manifest does not list this device.
	ErrRevoked = errors.New("this device was removed from its account")
)
