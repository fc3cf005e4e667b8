package codec

import (
	"bytes"
	"testing"
)

// FuzzOpusDecode decodes packets of a peer that has the keys and sends garbage: each
// becomes sound or silence of its length.
func FuzzOpusDecode(f *testing.F) {
	f.Add([]byte{0xf8, 0xff, 0xfe}, []byte{0xf8, 1, 2, 3})
	f.Add([]byte{0x08, 1, 2, 3, 4, 5, 6, 7}, []byte{0x0b, 2, 1, 2, 3})                   // SILK
	f.Add([]byte{0x68, 0xff, 0, 0xff, 0, 1, 2, 3}, []byte{0x7c, 9, 8, 7, 6, 5, 4, 3})    // hybrid
	f.Add([]byte{0xff, 0xc3, 1, 3, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{0xfd, 1, 2, 3, 4, 5}) // padding; stereo
	f.Add([]byte{0x83, 0x30, 1, 2, 3, 4, 5, 6, 7}, []byte{0x0c, 0xff, 0xff, 0xff, 0, 0}) // 2.5 ms; 60 ms
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := NewOpusDecoder()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{a, b, a} {
			if n := len(d.Decode(p)); n > maxSamples {
				t.Fatalf("%d samples", n)
			}
		}
	})
}

// TestDecoderThatPanics: a packet that makes the decoder panic becomes silence, and later
// packets are decoded.
func TestDecoderThatPanics(t *testing.T) {
	d, err := NewOpusDecoder()
	if err != nil {
		t.Fatal(err)
	}
	packet := append([]byte{0xf8}, bytes.Repeat([]byte{0x5a}, 60)...)
	loud := func(pcm []int16) bool {
		return len(pcm) == FrameSamples && bytes.ContainsFunc(raw(pcm), func(r rune) bool { return r != 0 })
	}
	if !loud(d.Decode(packet)) {
		t.Fatal("noise is silent")
	}
	good := d.decode
	d.decode = func(_ []byte, out []int16) (int, error) {
		_, _ = good(packet, out)
		var none []int16
		return int(none[len(packet)]), nil
	}
	if pcm := d.Decode(packet); len(pcm) != FrameSamples || loud(pcm) {
		t.Error("not silence")
	}
	if !loud(d.Decode(packet)) {
		t.Error("silent ever after")
	}
}

func raw(pcm []int16) []byte {
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = append(b, byte(v), byte(uint16(v)>>8))
	}
	return b
}
