package media

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

func FuzzTrustedSDP(f *testing.F) {
	print := make([]byte, FingerprintSize)
	f.Add("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 00\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-1 00\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n")
	f.Add("v=0\r\n")
	f.Fuzz(func(t *testing.T, remote string) {
		trusted, _, err := trustedSDP(remote, print)
		if err != nil {
			return
		}
		var d sdp.SessionDescription
		if err := d.UnmarshalString(trusted); err != nil {
			t.Fatalf("what was checked does not parse: %v", err)
		}
		prints := 0
		count := func(attributes []sdp.Attribute) {
			for _, a := range attributes {
				switch strings.ToLower(a.Key) {
				case "fingerprint":
					if prints++; a.Value != "sha-256 "+colons(print) {
						t.Errorf("fingerprint %q is left", a.Value)
					}
				case "candidate":
					t.Error("a candidate is left")
				}
			}
		}
		count(d.Attributes)
		for _, m := range d.MediaDescriptions {
			count(m.Attributes)
		}
		if prints != 1 {
			t.Errorf("%d fingerprints", prints)
		}
	})
}

func FuzzCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 1 192.0.2.9 3478 typ relay raddr 10.0.0.5 rport 40000")
	f.Add("candidate:raddr raddr raddr rport typ relay")
	f.Fuzz(func(t *testing.T, c string) {
		_ = checkCandidate(c)
		hidden, relayed := hideBase(c)
		if relayed && strings.Contains(hidden, "raddr 1") {
			t.Errorf("%q", hidden)
		}
	})
}

// FuzzPackets plays packets of a peer that has the keys and sends garbage.
func FuzzPackets(f *testing.F) {
	f.Add(uint8(0), []byte{3, 0xf8, 1, 2, 1, 0xf8})
	f.Add(uint8(1), []byte{4, 0x67, 0x42, 0xc0, 0x1e, 3, 0x7c, 0x85, 1, 2, 0x7c, 0x45})
	f.Add(uint8(2), []byte{12, 0x10, 0x10, 0, 0, 0x9d, 1, 0x2a, 64, 0, 48, 0, 1})
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		codec := []Codec{Opus, H264, VP8}[which%3]
		var sinks []Sink
		for _, format := range []Format{Ogg, S16LE, AnnexB, IVF, Matroska} {
			if s, err := newFrameSink(codec.Kind(), format, &output{w: discard{}}, false); err == nil {
				sinks = append(sinks, s)
			}
		}
		s := &Session{timeline: &timeline{}, events: make(chan Event, 16), ctx: t.Context()}
		st := &stream{
			track: &inTrack{session: s, kind: codec.Kind(), sinks: sinks}, codec: codec,
			clock: clock{rate: codec.ClockRate()}, jitter: newJitter(time.Second), depack: newDepacketizer(codec),
		}
		now := time.Unix(1000, 0)
		for seq := uint16(0); len(data) > 1; seq++ {
			n := min(int(data[0]&0x3f), len(data)-1)
			st.packet(&rtp.Packet{
				Header:  rtp.Header{SequenceNumber: seq, Timestamp: uint32(seq/2) * 3000, Marker: data[0]&0x40 != 0},
				Payload: data[1 : 1+n],
			}, now)
			if data[0]&0x80 != 0 {
				st.markLost()
			}
			data = data[1+n:]
			now = now.Add(20 * time.Millisecond)
		}
		st.finish()
		for _, sink := range sinks {
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }
