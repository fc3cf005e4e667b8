package media

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"secmsg/crypto/seal"
)

const (
	// maxPacket bounds an RTP packet including header, extensions, sealed payload and SRTP
	// tag, so that it fits every path (crypto/SPEC.md, "Calls").
	maxPacket = 1150
	// rtpHeaderSize is the fixed header and the extension for congestion control (RFC
	// 8285): 12 bytes, 4 of extension header, 3 padded to 4.
	rtpHeaderSize = 12 + 8
	// srtpTagSize is the longest tag of the SRTP profiles (RFC 7714).
	srtpTagSize = 16
	// maxPayload is the largest payload of a packet before sealing.
	maxPayload = maxPacket - rtpHeaderSize - srtpTagSize - seal.MediaOverhead
	// lateness is how late a frame may be before the timeline of the whole call is shifted,
	// instead of sending faster to catch up.
	lateness = 250 * time.Millisecond
	// boundWithin is how long after the start of the flow to wait until the peer's answer
	// has given a stream its codec.
	boundWithin = 3 * time.Second
	// keyFrameEvery is the minimum interval between key frames requested by the peer.
	keyFrameEvery = 500 * time.Millisecond
)

// outTrack sends the frames of one source. It implements [webrtc.TrackLocal], so that each
// packet is sealed with its final SSRC and payload type; retransmissions repeat the sealed
// packet.
type outTrack struct {
	session     *Session
	source      Source
	transceiver *webrtc.RTPTransceiver
	meter       meter

	bound    chan struct{} // closed by the first Bind
	unwanted chan struct{} // closed when the peer has refused the source's media

	mu      sync.Mutex
	writer  webrtc.TrackLocalWriter // guarded by mu
	ssrc    uint32                  // guarded by mu
	pt      uint8                   // guarded by mu
	muted   bool                    // guarded by mu
	wantKey bool                    // after unmuting, video starts with a key frame; guarded by mu
	keyed   time.Time               // when a key frame was last forced; guarded by mu
}

func newOutTrack(s *Session, source Source) *outTrack {
	return &outTrack{session: s, source: source, bound: make(chan struct{}), unwanted: make(chan struct{})}
}

// Bind implements [webrtc.TrackLocal].
func (t *outTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, p := range c.CodecParameters() {
		if codecOf(p.MimeType) != t.source.Codec() {
			continue
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.writer == nil {
			t.writer, t.ssrc, t.pt = c.WriteStream(), uint32(c.SSRC()), uint8(p.PayloadType)
			close(t.bound)
		}
		return p, nil
	}
	// The peer refused this section. An error would end the whole call, so leave the track
	// unbound; pump reports it.
	return codecParameters(t.source.Codec()), nil
}

// Unbind implements [webrtc.TrackLocal].
func (t *outTrack) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements [webrtc.TrackLocal].
func (t *outTrack) ID() string { return t.source.Codec().Kind().String() }

// RID implements [webrtc.TrackLocal].
func (t *outTrack) RID() string { return "" }

// StreamID implements [webrtc.TrackLocal].
func (t *outTrack) StreamID() string { return "call" }

// Kind implements [webrtc.TrackLocal].
func (t *outTrack) Kind() webrtc.RTPCodecType { return rtpKind(t.source.Codec().Kind()) }

func (t *outTrack) mute(on bool) {
	t.mu.Lock()
	begins := t.muted && !on && t.source.Codec() != Opus
	t.wantKey = t.wantKey || begins
	t.muted = on
	if begins {
		t.keyed = time.Time{} // the minimum interval applies only to the peer's requests
	}
	t.mu.Unlock()
	if begins {
		t.forceKey()
	}
}

func (t *outTrack) isMuted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.muted
}

func (t *outTrack) forceKey() {
	k, ok := t.source.(KeyFramer)
	if !ok {
		return
	}
	t.mu.Lock()
	again := time.Since(t.keyed) < keyFrameEvery
	if !again {
		t.keyed = time.Now()
	}
	t.mu.Unlock()
	if !again {
		k.ForceKeyFrame()
	}
}

// pump is a source's goroutine: it waits until media may flow, and sends until the source
// or the session ends.
func (t *outTrack) pump() {
	s := t.session
	select {
	case <-s.flow:
	case <-s.ctx.Done():
		return
	}
	kind := t.source.Codec().Kind()
	select {
	case <-t.bound:
	case <-t.unwanted:
		s.post(SourceEnded{Kind: kind, Err: t.refusal()})
		return
	case <-time.After(boundWithin):
		s.post(SourceEnded{Kind: kind, Err: t.refusal()})
		return
	case <-s.ctx.Done():
		return
	}
	s.wg.Go(t.readReports)
	err := t.send(s.ctx)
	switch {
	case s.ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		s.post(SourceEnded{Kind: kind})
	default:
		s.post(SourceEnded{Kind: kind, Err: err})
	}
}

func (t *outTrack) refusal() error {
	return fmt.Errorf("%s in %s: %w", t.source.Codec().Kind(), t.source.Codec(), ErrRefused)
}

// send sends the frames of the source. It fails with [ErrFormat] if there are none.
func (t *outTrack) send(ctx context.Context) error {
	t.mu.Lock()
	w, ssrc, pt := t.writer, t.ssrc, t.pt
	t.mu.Unlock()
	sealer, err := t.session.mediaKeys().Sealer(t.session.outward(), ssrc)
	if err != nil {
		return err
	}
	var start [6]byte
	rand.Read(start[:]) // never fails (crypto/rand, since Go 1.24)
	p := packetizer{
		codec: t.source.Codec(), sealer: sealer, writer: w, ssrc: ssrc, pt: pt,
		sequence: binary.BigEndian.Uint16(start[:]), timestamp: binary.BigEndian.Uint32(start[2:]),
		payloader: newPayloader(t.source.Codec()), meter: &t.meter,
	}
	rate, _ := t.source.(RateController)
	for sent := 0; ; sent++ {
		f, err := t.source.Next(ctx)
		if errors.Is(err, io.EOF) && sent == 0 {
			return fmt.Errorf("it contains no %s: %w", t.source.Codec().Kind(), ErrFormat)
		}
		if err != nil {
			return err
		}
		at, err := t.session.due(ctx, f.PTS)
		if err != nil {
			return err
		}
		if f = t.afterMute(f); f.Data != nil {
			if p.codec == Opus && len(f.Data) > maxPayload {
				return fmt.Errorf("an audio packet has %d bytes, but a packet of a call has room for %d: %w", len(f.Data), maxPayload, ErrFormat)
			}
			if err := p.write(f, at); err != nil && ctx.Err() == nil {
				t.session.log.Debug("send media", "error", err)
			}
		}
		if e := t.session.estimator; rate != nil && e != nil {
			rate.SetBitRate(e.GetTargetBitrate())
		}
	}
}

// afterMute returns the frame, a replacement, or a frame without data, depending on the
// mute state.
func (t *outTrack) afterMute(f Frame) Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.muted && t.source.Codec() == Opus:
		f.Data = silence(f.Duration)
	case t.muted, t.wantKey && !f.Key:
		f.Data = nil
	default:
		t.wantKey = false
	}
	return f
}

// due waits until it is time for a frame, and returns that time relative to the start of
// the flow. If the process was delayed, it shifts the timeline of all sources, so that
// sound and video stay synchronized.
func (s *Session) due(ctx context.Context, pts time.Duration) (time.Duration, error) {
	s.mu.Lock()
	at := pts + s.shift
	if late := time.Since(s.started) - at; late > lateness {
		s.shift += late
		at += late
	}
	s.mu.Unlock()
	wait := time.Until(s.started.Add(at))
	if wait <= 0 {
		return at, ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return at, nil
	case <-ctx.Done():
		return at, ctx.Err()
	}
}

// readReports reads the peer's reports about our packets: losses and requests for key
// frames. It ends with the connection.
func (t *outTrack) readReports() {
	for {
		packets, _, err := t.transceiver.Sender().ReadRTCP()
		if err != nil {
			return
		}
		t.reports(packets)
	}
}

// reports handles the reports about our stream; a packet may contain others, too.
func (t *outTrack) reports(packets []rtcp.Packet) {
	t.mu.Lock()
	ssrc := t.ssrc
	t.mu.Unlock()
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.PictureLossIndication:
			if p.MediaSSRC == ssrc {
				t.forceKey()
			}
		case *rtcp.FullIntraRequest:
			if slices.ContainsFunc(p.FIR, func(e rtcp.FIREntry) bool { return e.SSRC == ssrc }) {
				t.forceKey()
			}
		case *rtcp.ReceiverReport:
			for _, r := range p.Reports {
				if r.SSRC == ssrc {
					t.meter.report(r, t.source.Codec().ClockRate())
				}
			}
		}
	}
}

// packetizer splits frames into sealed packets. It belongs to pump.
type packetizer struct {
	codec     Codec
	payloader rtp.Payloader
	sealer    *seal.MediaSealer
	writer    webrtc.TrackLocalWriter
	meter     *meter
	ssrc      uint32
	pt        uint8
	sequence  uint16
	timestamp uint32 // starts at a random value
}

func newPayloader(c Codec) rtp.Payloader {
	switch c {
	case H264:
		return &codecs.H264Payloader{}
	case VP8:
		return &codecs.VP8Payloader{EnablePictureID: true}
	}
	return &codecs.OpusPayloader{}
}

// write sends a frame with time at. Packets that hit a network error are lost, like any
// others.
func (p *packetizer) write(f Frame, at time.Duration) error {
	payloads := p.payloader.Payload(maxPayload, f.Data)
	timestamp := p.timestamp + uint32(uint64(at)*uint64(p.codec.ClockRate())/uint64(time.Second))
	var failed error
	for i, payload := range payloads {
		h := rtp.Header{
			Version: 2, PayloadType: p.pt, SequenceNumber: p.sequence, Timestamp: timestamp, SSRC: p.ssrc,
			// The marker ends a picture (RFC 6184, RFC 7741). For sound it would mark the
			// start of a talk spurt, which nothing here uses.
			Marker: p.codec != Opus && i == len(payloads)-1,
		}
		p.sequence++
		sealed, err := p.sealer.Seal(nil, boundHeader(&h), payload)
		if err != nil {
			return err
		}
		if _, err := p.writer.WriteRTP(&h, sealed); err != nil {
			failed = err
		}
		p.meter.packet(len(payload))
	}
	if len(payloads) > 0 {
		p.meter.frame()
	}
	return failed
}

// boundHeader returns the part of an RTP header that is authenticated with the sealed
// payload (crypto/SPEC.md, "Calls"): bytes 1 to 11 of the packet.
func boundHeader(h *rtp.Header) []byte {
	b := make([]byte, seal.MediaHeaderSize)
	b[0] = h.PayloadType
	if h.Marker {
		b[0] |= 0x80
	}
	binary.BigEndian.PutUint16(b[1:], h.SequenceNumber)
	binary.BigEndian.PutUint32(b[3:], h.Timestamp)
	binary.BigEndian.PutUint32(b[7:], h.SSRC)
	return b
}
