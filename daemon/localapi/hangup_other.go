//go:build !unix

package localapi

import "net"

// hungUp is not implemented for this system: a disconnected caller is noticed by the next
// write.
func hungUp(*net.UnixConn) bool { return false }
