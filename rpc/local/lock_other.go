//go:build !unix

package local

import (
	"context"
	"errors"
)

// Lock is the lock of a profile.
type Lock struct{}

// TakeLock fails: this system has no lock that is released when its process is killed.
func TakeLock(context.Context, string) (*Lock, error) {
	return nil, errors.New("the daemon needs a Unix system")
}

// SetState does nothing.
func (*Lock) SetState(string) error { return nil }

// Lost is never true.
func (*Lock) Lost() bool { return false }

// Release does nothing.
func (*Lock) Release() error { return nil }

// ReadHolder reports no holder.
func ReadHolder(string) Holder { return Holder{} }
