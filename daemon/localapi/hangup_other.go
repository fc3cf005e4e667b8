//go:build !unix

package localapi

import "net"

// hungUp always returns false: on this system only the next write shows that a caller has
// disconnected.
func hungUp(*net.UnixConn) bool { return false }
