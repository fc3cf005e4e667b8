package codec

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/opus"

	"secmsg/daemon/media/container"
)

// maxSamples is the number of samples in the longest packet, 120 ms.
const maxSamples = Rate * 120 / 1000

// OpusDecoder decodes Opus packets to mono PCM at [Rate].
type OpusDecoder struct {
	decode func(packet []byte, out []int16) (int, error)
	out    []int16
}

// NewOpusDecoder returns a decoder.
func NewOpusDecoder() (*OpusDecoder, error) {
	o := &OpusDecoder{out: make([]int16, maxSamples)}
	if err := o.begin(); err != nil {
		return nil, fmt.Errorf("new Opus decoder: %w", err)
	}
	return o, nil
}

func (d *OpusDecoder) begin() error {
	n, err := opus.NewDecoderWithOutput(Rate, 1)
	if err != nil {
		return err
	}
	d.decode = n.DecodeToInt16
	return nil
}

// Decode returns the samples of a packet, which are valid until the next call. A packet
// that cannot be decoded, or that has no content (discontinuous transmission, RFC 6716,
// section 2.1.9), becomes silence of the same length.
func (d *OpusDecoder) Decode(packet []byte) []int16 {
	n := int(container.OpusSpan(packet) * Rate / time.Second)
	out := d.out[:n]
	if len(packet) > 2 {
		if got, err := d.guarded(packet); err == nil && got == n {
			return out
		}
	}
	clear(out)
	return out
}

// guarded decodes a peer's packet. The decoder library is young: if it panics, only this
// packet is lost, not the program with all its messages, and decoding starts with a new
// decoder.
func (d *OpusDecoder) guarded(packet []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, errors.Join(fmt.Errorf("decode Opus: %v", p), d.begin())
		}
	}()
	return d.decode(packet, d.out)
}
