package media

import (
	"time"

	"secmsg/daemon/media/container"
)

// isKey reports whether a decoder can begin with a frame.
func isKey(c Codec, data []byte) bool {
	switch c {
	case H264:
		return container.H264IsKey(data)
	case VP8:
		_, _, key := container.VP8Size(data)
		return key
	}
	return true
}

// packetSpan is how long an Opus packet lasts; zero if it is none.
func packetSpan(p []byte) time.Duration { return container.OpusSpan(p) }
