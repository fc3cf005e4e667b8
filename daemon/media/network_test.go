package media

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v5/vnet"
)

// badNetwork connects two hosts by a router that loses a share of the packets and delays
// the others, in each direction.
func badNetwork(t *testing.T, loss float64, delay time.Duration) (a, b *vnet.Net) {
	t.Helper()
	a, b, r := network(t, delay)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2)) // the same losses in every run
	r.AddChunkFilter(func(vnet.Chunk) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64() >= loss
	})
	start(t, r)
	return a, b
}

// network connects two hosts by a router that delays packets; [start] starts it.
func network(t *testing.T, delay time.Duration) (a, b *vnet.Net, _ *vnet.Router) {
	t.Helper()
	r, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "198.51.100.0/24", MinDelay: delay, QueueSize: 4096, LoggerFactory: quietLoggers{}})
	if err != nil {
		t.Fatal(err)
	}
	var nets [2]*vnet.Net
	for i, ip := range []string{"198.51.100.1", "198.51.100.2"} {
		if nets[i], err = vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}}); err != nil {
			t.Fatal(err)
		}
		if err := r.AddNet(nets[i]); err != nil {
			t.Fatal(err)
		}
	}
	return nets[0], nets[1], r
}

func start(t *testing.T, r *vnet.Router) {
	t.Helper()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Errorf("stop router: %v", err)
		}
	})
}

// TestLossAndDelay: with 10 % loss and 200 ms in each direction the call connects, at least
// 95 % of the sound packets arrive in time and decode to the tone, at least 80 % of the
// pictures arrive with a readable clock, and both are synchronized.
func TestLossAndDelay(t *testing.T) {
	needEncoders(t)
	need(t, "ffmpeg", "ffprobe")
	t.Parallel()
	out := filepath.Join(t.TempDir(), "call.mkv")
	na, nb := badNetwork(t, 0.10, 200*time.Millisecond)
	p := join(t,
		side{options: Options{net: na}, sources: Sources{Audio: source(t, Audio, SpecTest), Video: source(t, Video, SpecTest)}, sinks: null()},
		side{options: Options{net: nb}, sinks: Sinks{Muxed: sink(t, Video, out)}})
	p.start(t)
	begin := time.Now()
	until[Connected](t, p.from[1], 20*time.Second, nil)
	connected := time.Since(begin)
	until(t, p.from[0], 30*time.Second, func(s Stats) bool { return s.VideoOut.Frames >= 240 })
	p.close(t)
	sum := p.callee.Summary()
	sent := p.caller.Summary()
	shown := pictures(t, out, defaultWidth, defaultHeight)
	sounding := float64(sum.AudioIn.Frames) / float64(sent.AudioOut.Frames)
	seen := float64(len(shown)) / float64(shown[len(shown)-1].number+1)
	t.Logf("connected after %s; sound %.1f %% of %d frames, pictures %.1f %% of %d; lost in spite of retransmission: %d of %d and %d of %d packets",
		connected.Round(time.Millisecond), 100*sounding, sent.AudioOut.Frames, 100*seen, shown[len(shown)-1].number+1,
		sum.AudioIn.Lost, sum.AudioIn.Packets, sum.VideoIn.Lost, sum.VideoIn.Packets)
	if sounding < 0.95 || seen < 0.8 {
		t.Errorf("sound %.2f, pictures %.2f", sounding, seen)
	}
	checkStep(t, inStep(t, out, shown))
}

func TestRestartKeepsTheCall(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 20, 0, 10*time.Second)
	for _, s := range [][2]*Session{{p.caller, p.callee}, {p.callee, p.caller}} {
		offer, err := s[0].Restart(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		print, err := s[0].ownFingerprint()
		if err != nil {
			t.Fatal(err)
		}
		answer, other, err := s[1].Accept(context.Background(), offer, print)
		if err != nil {
			t.Fatal(err)
		}
		if err := s[0].Answer(answer, other); err != nil {
			t.Fatal(err)
		}
		now := p.callee.Summary().AudioIn.Frames
		received(t, p.from[1], now+60, 0, 15*time.Second)
	}
	if st := p.callee.Summary().AudioIn; st.Refused != 0 {
		t.Errorf("%d packets were refused", st.Refused)
	}
}

// TestCandidatesBeforeTheirRestart: a candidate that arrives before its SDP is kept for it;
// one of no known SDP is not used.
func TestCandidatesBeforeTheirRestart(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 5, 0, 15*time.Second)
	offer, err := p.caller.Restart(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	early := "candidate:1 1 udp 1 192.0.2.1 5000 typ host ufrag " + fragmentsOf(offer)[0]
	for _, c := range []string{early, "candidate:1 1 udp 1 192.0.2.2 5000 typ host ufrag old"} {
		if err := p.callee.AddCandidate(c); err != nil {
			t.Fatal(err)
		}
	}
	waits := func() bool {
		p.callee.mu.Lock()
		defer p.callee.mu.Unlock()
		return slices.Contains(p.callee.pending, early)
	}
	if !waits() {
		t.Error("an early candidate is not kept")
	}
	answer, other, err := p.callee.Accept(context.Background(), offer, fingerprintOf(t, p.caller))
	if err != nil {
		t.Fatal(err)
	}
	remote, err := p.callee.transport().ICETransport().GetRemoteParameters()
	if err != nil || remote.UsernameFragment != fragmentsOf(offer)[0] || waits() {
		t.Errorf("%+v %v", remote, err)
	}
	if err := p.caller.Answer(answer, other); err != nil {
		t.Fatal(err)
	}
	received(t, p.from[1], p.callee.Summary().AudioIn.Frames+20, 0, 20*time.Second)
}

// TestMute: muted sound is silence, and unmuted video starts with a decodable picture.
func TestMute(t *testing.T) {
	needEncoders(t)
	need(t, "ffmpeg")
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out.wav")
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest), Video: source(t, Video, SpecTest)}},
		side{sinks: Sinks{Audio: sink(t, Audio, out), Video: nullSink{}}})
	p.start(t)
	received(t, p.from[1], 40, 20, 10*time.Second)
	p.caller.Mute(Audio, true)
	p.caller.Mute(Video, true)
	st := until(t, p.from[0], 5*time.Second, func(s Stats) bool { return s.AudioOut.Muted && s.VideoOut.Muted })
	still := until(t, p.from[0], 5*time.Second, func(s Stats) bool { return s.AudioOut.Frames > st.AudioOut.Frames })
	if still.VideoOut.Frames != st.VideoOut.Frames {
		t.Error("pictures are sent while the camera is off")
	}
	p.caller.Mute(Audio, false)
	p.caller.Mute(Video, false)
	received(t, p.from[1], 150, st.VideoOut.Frames+20, 10*time.Second)
	p.close(t)
	pcm, _ := sound(t, out)
	longest, run := 0, 0
	for _, on := range loud(pcm) {
		if run++; on {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest < 50 || longest > 350 {
		t.Errorf("the longest silence has %d ms", longest*10)
	}
}

// TestCodecsThatDoNotMeet: media that the peer does not accept are reported, and the rest
// of the call continues.
func TestCodecsThatDoNotMeet(t *testing.T) {
	needEncoders(t)
	t.Parallel()
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest), Video: source(t, Video, SpecTest)}},
		side{sinks: Sinks{Audio: nullSink{}, Video: sink(t, Video, filepath.Join(t.TempDir(), "out.ivf"))}})
	p.start(t)
	received(t, p.from[1], 20, 0, 10*time.Second)
	until(t, p.from[0], 10*time.Second, func(e SourceEnded) bool { return e.Kind == Video && errors.Is(e.Err, ErrRefused) })
}
