//go:build !unix

package daemon

import (
	"errors"
	"net"
	"time"
)

// readable: no service manager gives a socket here.
func readable(*net.UnixListener, time.Duration) (bool, error) {
	return false, errors.ErrUnsupported
}
