package media

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"secmsg/crypto/seal"
)

const (
	// readAhead is the number of packets buffered for a stream's goroutine.
	readAhead = 256
	// lookEvery is the interval at which waiting packets are checked.
	lookEvery = 20 * time.Millisecond
	// askEvery is the interval of requests for a missing key frame.
	askEvery = time.Second
	// maxHeld bounds the frames that wait for the first sender report.
	maxHeld = 256
	// maxFrame bounds one picture in bytes; 720p at our bit rates has about 100 KiB.
	maxFrame = 4 << 20
)

// inTrack receives one kind of media from the peer.
type inTrack struct {
	session     *Session
	kind        Kind
	codecs      []Codec
	sinks       []Sink
	transceiver *webrtc.RTPTransceiver
	meter       meter
	taken       bool // there is a stream of this kind; guarded by session.mu
}

func newInTrack(s *Session, kind Kind, codecs []Codec, sinks []Sink) *inTrack {
	return &inTrack{session: s, kind: kind, codecs: codecs, sinks: sinks}
}

// onTrack starts to read a stream of the peer.
func (s *Session) onTrack(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	kind := Audio
	if remote.Kind() == webrtc.RTPCodecTypeVideo {
		kind = Video
	}
	t := s.in[kind]
	codec := codecOf(remote.Codec().MimeType)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == nil || t.taken || !slices.Contains(t.codecs, codec) || s.closed {
		return // already refused in the answer
	}
	t.taken = true
	t.meter.codec(codec)
	st := &stream{
		track: t, remote: remote, codec: codec, clock: clock{rate: codec.ClockRate()},
		packets: make(chan *rtp.Packet, readAhead), jitter: newJitter(t.patience()),
	}
	s.wg.Go(st.read)
	s.wg.Go(func() { st.readReports(receiver) })
}

// patience returns how long to wait for a missing packet.
func (t *inTrack) patience() time.Duration {
	for _, s := range t.sinks {
		if s.Live() {
			return waitLive
		}
	}
	return waitRecording
}

// stream is one incoming stream. The fields from jitter on belong to the goroutine of play.
type stream struct {
	track  *inTrack
	remote *webrtc.TrackRemote
	codec  Codec
	clock  clock

	packets chan *rtp.Packet
	jitter  *jitter
	depack  rtp.Depacketizer
	frame   []byte // picture being assembled
	stamp   uint32 // its timestamp
	broken  bool   // one of its packets is missing
	whole   bool   // it started with its first packet
	needKey bool
	asked   time.Time
	held    []stamped
	first   time.Time // when the first frame was complete
	last    time.Duration
	wrote   bool
}

type stamped struct {
	frame Frame
	rtp   uint32
	at    time.Time
}

// read decrypts packets and drops those that fail authentication.
func (st *stream) read() {
	s := st.track.session
	select {
	case <-s.flow:
	case <-s.ctx.Done():
		return
	}
	opener, err := s.mediaKeys().Opener(s.inward(), uint32(st.remote.SSRC()))
	if err != nil {
		s.log.Warn("take media", "error", err)
		return
	}
	defer close(st.packets)
	s.wg.Go(st.play)
	for {
		p, _, err := st.remote.ReadRTP()
		if errors.Is(err, io.ErrShortBuffer) || errors.Is(err, webrtc.ErrCodecNotFound) {
			st.track.meter.refused() // too large, or with a type that was not negotiated
			continue
		}
		if err != nil {
			return
		}
		if !st.open(opener, p) {
			continue
		}
		select {
		case st.packets <- p:
		case <-s.ctx.Done():
			return
		}
	}
}

// open decrypts a packet in place.
func (st *stream) open(opener *seal.MediaOpener, p *rtp.Packet) bool {
	payload, err := opener.Open(boundHeader(&p.Header), p.Payload)
	if err != nil {
		st.track.meter.refused()
		return false
	}
	p.Payload = payload
	st.track.meter.packet(len(payload))
	st.track.meter.arrival(p.Timestamp, st.codec.ClockRate(), time.Now())
	return true
}

// readReports reads the sender's clock.
func (st *stream) readReports(receiver *webrtc.RTPReceiver) {
	for {
		packets, _, err := receiver.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			if r, ok := p.(*rtcp.SenderReport); ok && r.SSRC == uint32(st.remote.SSRC()) {
				st.clock.report(r)
			}
		}
	}
}

// play sorts packets and passes complete frames to the sinks.
func (st *stream) play() {
	st.needKey = st.codec != Opus
	st.depack = newDepacketizer(st.codec)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case p, ok := <-st.packets:
			if !ok {
				st.finish()
				return
			}
			st.jitter.push(p, time.Now())
		case <-ticker.C:
		}
		now := time.Now()
		st.drain(now)
		if st.needKey {
			st.askKey(now)
		}
	}
}

func (st *stream) drain(now time.Time) {
	for {
		p, lost := st.jitter.pop(now)
		if p == nil {
			break
		}
		if lost > 0 {
			st.track.meter.lost(lost)
			st.markLost()
		}
		st.packet(p, now)
	}
	st.release(now)
}

// finish passes on complete frames when the stream ends.
func (st *stream) finish() {
	st.jitter.wait = 0
	now := time.Now()
	st.drain(now)
	st.release(now.Add(reportWait))
}

// markLost marks that packets before the next one are missing.
func (st *stream) markLost() {
	st.broken = true
	if st.codec != Opus {
		st.needKey = true
	}
}

// askKey requests a key frame from the peer.
func (st *stream) askKey(now time.Time) {
	if now.Sub(st.asked) < askEvery {
		return
	}
	st.asked = now
	pli := &rtcp.PictureLossIndication{MediaSSRC: uint32(st.remote.SSRC())}
	if err := st.track.session.pc.WriteRTCP([]rtcp.Packet{pli}); err != nil {
		st.track.session.log.Debug("ask for a key frame", "error", err)
	}
}

func newDepacketizer(c Codec) rtp.Depacketizer {
	switch c {
	case H264:
		return &codecs.H264Packet{}
	case VP8:
		return &codecs.VP8Packet{}
	}
	return &codecs.OpusPacket{}
}

// packet adds a packet to its frame.
func (st *stream) packet(p *rtp.Packet, now time.Time) {
	if len(p.Payload) == 0 {
		return
	}
	if st.codec == Opus {
		st.broken = false
		d := packetSpan(p.Payload)
		if d == 0 {
			st.track.meter.dropped()
			return
		}
		st.complete(Frame{Data: p.Payload, Duration: d, Key: true}, p.Timestamp, now)
		return
	}
	if !st.whole || p.Timestamp != st.stamp {
		if st.whole && len(st.frame) > 0 { // its last packet never arrived
			st.track.meter.dropped()
			st.needKey = true
		}
		st.frame, st.stamp, st.whole = nil, p.Timestamp, true
		st.depack = newDepacketizer(st.codec)
		st.broken = !st.depack.IsPartitionHead(p.Payload)
	}
	part, err := st.depack.Unmarshal(p.Payload)
	if err != nil || len(st.frame)+len(part) > maxFrame {
		st.broken = true
	} else {
		st.frame = append(st.frame, part...)
	}
	if !p.Marker {
		return
	}
	f := Frame{Data: st.frame, Key: isKey(st.codec, st.frame)}
	broken := st.broken || len(f.Data) == 0
	st.frame, st.whole, st.broken = nil, false, false
	switch {
	case broken:
		st.needKey = true
		st.track.meter.dropped()
	case st.needKey && !f.Key:
		st.track.meter.dropped()
	default:
		st.needKey = false
		st.complete(f, p.Timestamp, now)
	}
}

// complete queues a frame until its place on the timeline is known.
func (st *stream) complete(f Frame, timestamp uint32, now time.Time) {
	if st.first.IsZero() {
		st.first = now
	}
	st.held = append(st.held, stamped{f, timestamp, now})
	st.track.meter.frame()
}

// release writes the frames whose time is known.
func (st *stream) release(now time.Time) {
	if len(st.held) == 0 {
		return
	}
	if now.Sub(st.first) >= reportWait || len(st.held) > maxHeld {
		st.clock.guess(st.held[0].rtp, st.held[0].at)
	}
	for len(st.held) > 0 {
		h := st.held[0]
		made, ok := st.clock.at(h.rtp)
		if !ok {
			return
		}
		st.held = st.held[1:]
		at := st.track.session.timeline.place(made, h.at)
		if st.wrote { // strictly increasing, whatever the reports say
			at = max(at, st.last+time.Millisecond)
		}
		st.last, st.wrote = at, true
		h.frame.PTS = at
		st.write(h.frame)
	}
}

// write passes a frame to every sink that has not failed.
func (st *stream) write(f Frame) {
	t := st.track
	kept := t.sinks[:0]
	for _, sink := range t.sinks {
		switch err := sink.Write(st.codec, f); {
		case errors.Is(err, errQueueFull):
			t.meter.dropped()
		case errors.Is(err, errQueueKey):
			t.meter.dropped()
			st.askKey(time.Now())
		case err != nil:
			t.session.post(SinkFailed{Kind: t.kind, Err: err})
			continue
		}
		kept = append(kept, sink)
	}
	t.sinks = kept
}
