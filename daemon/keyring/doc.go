// Package keyring is the only holder of private keys: the storage key, which
// seals every other secret of the profile at rest, the account's and the
// device's keys, prekeys and sessions. It seals and opens messages inside a
// transaction of the store, so that a ratchet step is kept or undone together
// with everything else of that transaction.
//
// A Keyring is safe for concurrent use and has no goroutines. It lives as long
// as its store. Locking wipes the keys that it holds; the runtime may have
// copies of intermediate values, which is why the daemon forbids core dumps.
package keyring

import "errors"

// Errors on which callers branch.
var (
	// ErrLocked says that the profile is locked.
	ErrLocked = errors.New("the profile is locked")
	// ErrPassphrase says that the passphrase is wrong.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrExists says that the profile has a storage key already.
	ErrExists = errors.New("the profile has a storage key already")
	// ErrNoPassphrase says that the profile is not protected by a passphrase.
	ErrNoPassphrase = errors.New("the profile has no passphrase")
	// ErrKeyFile says that the file with the storage key is missing, readable
	// by others, damaged, or of another profile.
	ErrKeyFile = errors.New("the storage key cannot be used")
	// ErrNoSession says that there is no session with the device: start one.
	ErrNoSession = errors.New("no session with this device")
	// ErrBundle says that a prekey bundle is not usable.
	ErrBundle = errors.New("prekey bundle is not usable")
	// ErrUndecryptable says that no session opens a message, or that it does
	// not authenticate: it is kept and asked for again.
	ErrUndecryptable = errors.New("message does not open")
	// ErrReplay says that the key of a message was used before, or was dropped
	// with age: only who knows the message's id can tell which.
	ErrReplay = errors.New("message was opened before, or came too late")
	// ErrMalformed says that a message is none of this protocol version and
	// never will open.
	ErrMalformed = errors.New("message is malformed")
	// ErrNoIdentity says that this device does not hold the account's identity
	// key: it is not the primary.
	ErrNoIdentity = errors.New("this device is not the primary of its account")
)
