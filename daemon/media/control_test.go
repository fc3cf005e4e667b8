package media

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/webrtc/v4"
)

// TestKeyFrameIsAskedFor: a receiver that cannot decode requests a key frame by PLI, and
// the encoder, which here makes none by itself, makes one.
func TestKeyFrameIsAskedFor(t *testing.T) {
	t.Parallel()
	src := &fake{codec: VP8, step: 20 * time.Millisecond, frame: func(f *fake) Frame { return Frame{Data: vp8(f.key, 200), Key: f.key} }}
	p := join(t, side{sources: Sources{Video: src}}, side{sinks: null()})
	p.start(t)
	got := received(t, p.from[1], 0, 20, 15*time.Second)
	if src.keys() == 0 || got.VideoIn.Dropped == 0 {
		t.Errorf("%d key frames were asked for, %d pictures were left out", src.keys(), got.VideoIn.Dropped)
	}
}

// TestKeyFramesForThePeerAreBounded: the peer's requests are rate limited and apply only to
// the stream they name; unmuting the camera is not limited.
func TestKeyFramesForThePeerAreBounded(t *testing.T) {
	t.Parallel()
	src := &fake{codec: VP8}
	out := newOutTrack(nil, src)
	for range 100 {
		out.forceKey()
	}
	if src.keys() != 1 {
		t.Errorf("%d key frames for 100 wishes", src.keys())
	}
	out.mute(true)
	out.mute(false)
	if src.keys() != 2 {
		t.Error("no key frame when the camera was turned on")
	}
	out.mute(false)
	if src.keys() != 2 {
		t.Error("a key frame though the camera was on")
	}
}

// TestReportsOfOtherStreams: a report about another stream has no effect.
func TestReportsOfOtherStreams(t *testing.T) {
	t.Parallel()
	src := &fake{codec: VP8}
	out := newOutTrack(nil, src)
	out.ssrc = 7
	out.reports([]rtcp.Packet{
		&rtcp.PictureLossIndication{MediaSSRC: 8},
		&rtcp.FullIntraRequest{MediaSSRC: 7, FIR: []rtcp.FIREntry{{SSRC: 8}}},
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 8, TotalLost: 99}}},
	})
	if src.keys() != 0 || out.meter.total.Lost != 0 {
		t.Errorf("%d key frames, %d lost", src.keys(), out.meter.total.Lost)
	}
	out.reports([]rtcp.Packet{
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 7}}},
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 7, TotalLost: 5}}},
	})
	if src.keys() != 1 || out.meter.total.Lost != 5 {
		t.Errorf("%d key frames, %d lost", src.keys(), out.meter.total.Lost)
	}
}

// TestBitRateFollowsTheNetwork: on a path that loses four of ten packets the encoder's bit
// rate decreases, and it increases again when the path is good.
func TestBitRateFollowsTheNetwork(t *testing.T) {
	t.Parallel()
	na, nb, router := network(t, 10*time.Millisecond)
	var bad atomic.Bool
	var count atomic.Uint64
	router.AddChunkFilter(func(vnet.Chunk) bool { return !bad.Load() || count.Add(1)%5 < 3 })
	start(t, router)
	src := &fake{codec: VP8, step: 25 * time.Millisecond}
	src.frame = func(f *fake) Frame {
		rate := startBitRate
		if len(f.rates) > 0 {
			rate = f.rates[len(f.rates)-1]
		}
		return Frame{Data: vp8(f.key || f.next == 0, rate/8/40), Key: f.key || f.next == 0}
	}
	p := join(t, side{options: Options{net: na}, sources: Sources{Video: src}}, side{options: Options{net: nb}, sinks: null()})
	p.start(t)
	reaches := func(what string, ok func(rate int) bool) int {
		st := until(t, p.from[0], 40*time.Second, func(s Stats) bool { return src.rate() > 0 && ok(src.rate()) })
		t.Logf("%s: %d bit/s, target %d", what, src.rate(), st.Target)
		return src.rate()
	}
	reaches("good path", func(rate int) bool { return rate >= startBitRate })
	bad.Store(true)
	low := reaches("bad path", func(rate int) bool { return rate < startBitRate/2 })
	bad.Store(false)
	reaches("good again", func(rate int) bool { return rate > low*3/2 })
}

// TestLargePacketsEndTheirSource: a source of sound with too large packets fails, and the
// packets before have arrived.
func TestLargePacketsEndTheirSource(t *testing.T) {
	t.Parallel()
	src := &fake{codec: Opus, step: opusFrame, frame: func(f *fake) Frame {
		data := silence(opusFrame)
		if f.next/opusFrame == 20 {
			data = append(data, bytes.Repeat([]byte{1}, 2*maxPayload)...)
		}
		return Frame{Data: data, Key: true}
	}}
	p := join(t, side{sources: Sources{Audio: src}}, side{sinks: null()})
	p.start(t)
	until(t, p.from[0], 15*time.Second, func(e SourceEnded) bool { return errors.Is(e.Err, ErrFormat) })
	received(t, p.from[1], 20, 0, 15*time.Second)
}

// strange is a writer that makes some packets too large and gives others a type that was
// not negotiated.
type strange struct {
	webrtc.TrackLocalWriter
	n int
}

func (s *strange) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	switch s.n++; s.n % 4 {
	case 1:
		payload = make([]byte, 1450)
	case 2:
		other := *h
		other.PayloadType--
		h = &other
	}
	return s.TrackLocalWriter.WriteRTP(h, payload)
}

// TestStrangePacketsDoNotEndTheSound: invalid packets are skipped.
func TestStrangePacketsDoNotEndTheSound(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.negotiate(t)
	until[Connected](t, p.from[0], 15*time.Second, nil)
	out := p.caller.out[Audio]
	<-out.bound
	out.mu.Lock()
	out.writer = &strange{TrackLocalWriter: out.writer}
	out.mu.Unlock()
	if err := errors.Join(p.callee.SetKeys(p.keys), p.caller.SetKeys(p.keys)); err != nil {
		t.Fatal(err)
	}
	st := until(t, p.from[1], 15*time.Second, func(s Stats) bool { return s.AudioIn.Frames >= 20 })
	if st.AudioIn.Refused < 20 {
		t.Errorf("%d were refused", st.AudioIn.Refused)
	}
}

// TestJitterSurvivesTheWrap: timestamps start at any value and wrap, without an effect on
// the jitter.
func TestJitterSurvivesTheWrap(t *testing.T) {
	t.Parallel()
	m := &meter{}
	now := time.Unix(1000, 0)
	for made := uint32(0xffffffff - 5*960 + 1); made != 5*960; made += 960 {
		m.arrival(made, 48000, now)
		now = now.Add(21 * time.Millisecond)
	}
	if j := m.total.Jitter; j <= 0 || j > time.Millisecond {
		t.Errorf("jitter of %s", j)
	}
}
