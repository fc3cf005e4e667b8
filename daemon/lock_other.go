//go:build !unix

package daemon

import "errors"

// takeLock has no lock that a killed process gives up on this system.
func takeLock(string) (func() error, error) {
	return nil, errors.New("the daemon needs a Unix system")
}
