package media

import (
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// FuzzFeedback passes a garbage compound packet, authenticated by SRTP, to the readers of a
// peer's RTCP, after some sent packets.
func FuzzFeedback(f *testing.F) {
	seed := func(p ...rtcp.Packet) {
		b, err := rtcp.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	chunk := func(n uint16) rtcp.PacketStatusChunk {
		return &rtcp.RunLengthChunk{Type: rtcp.TypeTCCRunLengthChunk, PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: n}
	}
	delta := &rtcp.RecvDelta{Type: rtcp.TypeTCCPacketReceivedSmallDelta, Delta: 250}
	seed(&rtcp.TransportLayerCC{
		Header:    rtcp.Header{Padding: true, Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: 5},
		MediaSSRC: 7, PacketStatusCount: 2, PacketChunks: []rtcp.PacketStatusChunk{chunk(2)}, RecvDeltas: []*rtcp.RecvDelta{delta, delta},
	})
	seed(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: []rtcp.NackPair{{PacketID: 3, LostPackets: 0xffff}, {PacketID: 65535, LostPackets: 1}}})
	seed(&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 7, FractionLost: 255, TotalLost: 1 << 23, LastSenderReport: 1, Delay: 1 << 31}}})
	seed(&rtcp.SenderReport{SSRC: 8, NTPTime: 1 << 63, RTPTime: 1 << 31}, &rtcp.PictureLossIndication{MediaSSRC: 7})
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var estimators []cc.BandwidthEstimator
		registry, err := interceptors(func(e cc.BandwidthEstimator) { estimators = append(estimators, e) })
		if err != nil {
			t.Fatal(err)
		}
		chain, err := registry.Build("")
		if err != nil {
			t.Fatal(err)
		}
		discarded := interceptor.RTPWriterFunc(func(h *rtp.Header, p []byte, _ interceptor.Attributes) (int, error) { return len(p), nil })
		chain.BindRTCPWriter(interceptor.RTCPWriterFunc(func(p []rtcp.Packet, _ interceptor.Attributes) (int, error) { return len(p), nil }))
		w := chain.BindLocalStream(&interceptor.StreamInfo{
			SSRC: 7, ClockRate: 90000, PayloadType: vp8Type, RTCPFeedback: []interceptor.RTCPFeedback{{Type: "transport-cc"}, {Type: "nack"}},
			RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{ID: 1, URI: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"}},
		}, discarded)
		for i := range uint16(8) {
			if _, err := w.Write(&rtp.Header{Version: 2, SSRC: 7, PayloadType: vp8Type, SequenceNumber: i}, make([]byte, 100), interceptor.Attributes{}); err != nil {
				t.Fatal(err)
			}
		}
		r := chain.BindRTCPReader(interceptor.RTCPReaderFunc(func(p []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
			return copy(p, b), a, nil
		}))
		_, _, _ = r.Read(make([]byte, 1460), interceptor.Attributes{}) // errors are allowed
		if packets, err := rtcp.Unmarshal(b); err == nil {
			out := newOutTrack(nil, &fake{codec: VP8})
			out.ssrc = 7
			out.reports(packets)
			c := clock{rate: 90000}
			for _, p := range packets {
				if s, ok := p.(*rtcp.SenderReport); ok {
					c.report(s)
				}
			}
			if at, ok := c.at(1 << 31); ok {
				if place := (&timeline{}).place(at, time.Unix(0, 0)); place < 0 || place > ahead {
					t.Errorf("a frame at %s", place)
				}
			}
		}
		for _, e := range estimators {
			if rate := e.GetTargetBitrate(); rate < minBitRate || rate > maxBitRate {
				t.Errorf("a target of %d", rate)
			}
		}
		if err := chain.Close(); err != nil {
			t.Error(err)
		}
	})
}
