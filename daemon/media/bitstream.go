package media

import (
	"time"

	"secmsg/daemon/media/container"
)

// isKey reports whether decoding can start at a frame.
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

// packetSpan returns the duration of an Opus packet, or zero if it is not one.
func packetSpan(p []byte) time.Duration { return container.OpusSpan(p) }
