//go:build !unix

package local

import (
	"context"
	"errors"
)

// Lock is the lock of a profile.
type Lock struct{}

// TakeLock has no lock that a killed process gives up on this system.
func TakeLock(context.Context, string) (*Lock, error) {
	return nil, errors.New("the daemon needs a Unix system")
}

// SetState does nothing.
func (*Lock) SetState(string) error { return nil }

// Lost is never true.
func (*Lock) Lost() bool { return false }

// Release does nothing.
func (*Lock) Release() error { return nil }

// ReadHolder finds nobody.
func ReadHolder(string) Holder { return Holder{} }
