//go:build !unix

package daemon

import (
	"errors"
	"net"
	"time"
)

// readable is never called: no service manager passes sockets on this system.
func readable(*net.UnixListener, time.Duration) (bool, error) {
	return false, errors.ErrUnsupported
}
