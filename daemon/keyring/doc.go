// Package keyring is the only holder of private keys: the storage key, which seals every
// other secret of the profile at rest, the keys of account and device, prekeys and
// sessions. It seals and opens messages inside a transaction of the store, so a ratchet
// step is committed or undone together with the rest of that transaction.
//
// A Keyring is safe for concurrent use and has no goroutines. It lives as long as its
// store. Locking wipes the keys it holds. The runtime may have copies of intermediate
// values; therefore the daemon disables core dumps.
package keyring

import "errors"

// Errors that callers distinguish.
var (
	// ErrLocked: the profile is locked.
	ErrLocked = errors.New("the profile is locked")
	// ErrPassphrase: the passphrase is wrong.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrExists: the profile already has a storage key.
	ErrExists = errors.New("the profile already has a storage key")
	// ErrNoPassphrase: the profile is not protected by a passphrase.
	ErrNoPassphrase = errors.New("the profile has no passphrase")
	// ErrKeyFile: the file with the storage key is missing, readable by others, damaged, or
	// belongs to another profile.
	ErrKeyFile = errors.New("the storage key cannot be used")
	// ErrNoSession: there is no session with the device; start one.
	ErrNoSession = errors.New("no session with this device")
	// ErrBundle: a prekey bundle is not usable.
	ErrBundle = errors.New("prekey bundle is not usable")
	// ErrUndecryptable: no session opens the message, or it does not authenticate. It is
	// kept, and its sender is asked to send it again.
	ErrUndecryptable = errors.New("the message cannot be opened")
	// ErrReplay: the key of the message was used before, or has expired. Only the message's
	// id can tell which.
	ErrReplay = errors.New("the message was opened before, or its key has expired")
	// ErrMalformed: the message does not follow this protocol version and can never be
	// opened.
	ErrMalformed = errors.New("the message is malformed")
	// ErrNoIdentity: this device does not have the account's identity key, so it is not the
	// primary device.
	ErrNoIdentity = errors.New("this device is not the primary of its account")
)
