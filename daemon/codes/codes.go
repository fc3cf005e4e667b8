// Package codes turns the errors of the daemon's parts (store, keyring, trust,
// link) into the stable codes and messages of the local RPC. It is the only
// package that does so: the parts return their own errors, package backend
// converts them where they leave the daemon, and the engine where an error is
// part of a result. It has no state.
package codes

import (
	"errors"
	"fmt"

	"secmsg/config"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Local gives an error the code with which it crosses the socket. An error of
// unknown origin is returned unchanged; the socket's server logs it in full and
// answers "internal".
func Local(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*local.Error](err); ok {
		return e
	}
	for _, conv := range []func(error) *local.Error{storeError, keyringError, trustError, Server} {
		if e := conv(err); e != nil {
			return fmt.Errorf("%w (%w)", e, err)
		}
	}
	return err
}

// Explain is Local for callers that need the coded error itself: nil if err has no code.
func Explain(err error) *local.Error {
	e, _ := errors.AsType[*local.Error](Local(err))
	return e
}

func storeError(err error) *local.Error {
	if loose, ok := errors.AsType[*config.LooseError](err); ok {
		return local.Errorf(local.CodeUsage, "%s", loose).WithHint("%s", loose.Hint())
	}
	if foreign, ok := errors.AsType[*config.OwnerError](err); ok {
		return local.Errorf(local.CodeUsage, "%s", foreign).WithHint("%s", foreign.Hint())
	}
	switch {
	case errors.Is(err, store.ErrLocked):
		return Locked()
	case errors.Is(err, store.ErrDiskFull):
		return local.Errorf(local.CodeDiskFull, "no space left on the disk of the profile; nothing was lost").WithCause(local.CauseDisk)
	case errors.Is(err, store.ErrTooNew):
		return local.Errorf(local.CodeUsage, "this profile was written by a newer version of secmsg; it was left unchanged").WithHint("update secmsg")
	case errors.Is(err, store.ErrCorrupt):
		return local.Errorf(local.CodeIO, "the profile's database is damaged").WithCause(local.CauseDisk)
	case errors.Is(err, store.ErrDisk):
		return local.Errorf(local.CodeIO, "the profile's database cannot be used").WithCause(local.CauseDisk)
	}
	return nil
}

// Locked returns the error for requests that need an unlocked profile.
func Locked() *local.Error {
	return local.Errorf(local.CodeLocked, "the profile is locked").WithHint("secmsg unlock")
}

func keyringError(err error) *local.Error {
	switch {
	case errors.Is(err, keyring.ErrLocked):
		return Locked()
	case errors.Is(err, keyring.ErrPassphrase):
		return local.Errorf(local.CodeLocked, "the passphrase is wrong")
	case errors.Is(err, keyring.ErrNoPassphrase):
		return local.Errorf(local.CodeUsage, "the profile has no passphrase")
	case errors.Is(err, keyring.ErrKeyFile):
		return local.IOError(err, "%v", err)
	}
	return nil
}

func trustError(err error) *local.Error {
	switch {
	case errors.Is(err, trust.ErrRealm):
		return local.Errorf(local.CodeNotFound, "%v", err)
	case errors.Is(err, trust.ErrUnknownPeer):
		return local.Errorf(local.CodeNotFound, "%v", err)
	case errors.Is(err, trust.ErrChanged):
		return local.Errorf(local.CodeUntrusted, "%v", err).WithHint("secmsg contact show PEER; secmsg trust PEER --key FINGERPRINT")
	case errors.Is(err, trust.ErrUnverified):
		return local.Errorf(local.CodeUntrusted, "%v", err).WithHint("secmsg verify PEER")
	case errors.Is(err, trust.ErrBlocked):
		return local.Errorf(local.CodeUsage, "%v", err).WithHint("secmsg unblock PEER")
	case errors.Is(err, trust.ErrCertificate), errors.Is(err, trust.ErrManifest):
		return local.Errorf(local.CodeUntrusted, "%v", err)
	}
	return nil
}
