package codec

import (
	"fmt"
	"time"

	"github.com/pion/opus"

	"secmsg/daemon/media/container"
)

// maxSamples is the longest packet, 120 ms.
const maxSamples = Rate * 120 / 1000

// OpusDecoder turns Opus packets into mono PCM at [Rate].
type OpusDecoder struct {
	d   opus.Decoder
	out []int16
}

// NewOpusDecoder makes a decoder.
func NewOpusDecoder() (*OpusDecoder, error) {
	d, err := opus.NewDecoderWithOutput(Rate, 1)
	if err != nil {
		return nil, fmt.Errorf("new Opus decoder: %w", err)
	}
	return &OpusDecoder{d: d, out: make([]int16, maxSamples)}, nil
}

// Decode returns the samples of a packet, valid until the next call. A packet
// that does not decode, or that has no content (discontinuous transmission, RFC
// 6716, section 2.1.9), is silence of its length.
func (d *OpusDecoder) Decode(packet []byte) []int16 {
	n := int(container.OpusSpan(packet) * Rate / time.Second)
	out := d.out[:n]
	if len(packet) > 2 {
		if got, err := d.d.DecodeToInt16(packet, d.out); err == nil && got == n {
			return out
		}
	}
	clear(out)
	return out
}
