package media

import (
	"net/netip"
	"time"

	"secmsg/serverd/limit"
)

const (
	// bandwidthBurst is how many seconds of a bandwidth may pass at once: video key frames are bursts.
	bandwidthBurst = 2 * time.Second
	// packetHeaders is the number of bytes charged for a packet in addition to its content: the headers of IPv4
	// and UDP. Without it small packets would cost almost nothing, and empty ones nothing.
	packetHeaders = 28
)

// mayAnswer reports whether addr may get another answer to a request without an allocation.
func (s *Server) mayAnswer(addr netip.Addr) bool {
	ok, _ := s.requests.Take(limit.Site(addr))
	return ok
}

// mayRelay reports whether a packet with n bytes of content is within the account's bandwidth.
func mayRelay(bytes *limit.Bucket, n int) bool { return bytes.Allow(n + packetHeaders) }
