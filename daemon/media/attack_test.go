package media

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"secmsg/crypto/seal"
)

// opusOnly connects a caller that sends a tone to a callee that receives it.
func opusOnly(t *testing.T) (side, side) {
	t.Helper()
	return side{sources: Sources{Audio: source(t, Audio, SpecTest)}}, side{sinks: null()}
}

// quiet waits for several seconds of stats and checks that nothing was received.
func quiet(t *testing.T, c <-chan Event, seconds int) Stats {
	t.Helper()
	var last Stats
	for range seconds {
		last = until[Stats](t, c, 5*time.Second, nil)
		if last.AudioIn.Frames+last.AudioIn.Packets+last.VideoIn.Packets != 0 {
			t.Fatalf("something came through: %+v", last)
		}
	}
	return last
}

func TestWrongKeyOpensNothing(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.negotiate(t)
	wrong := p.keys
	wrong.Answer[31] ^= 1
	if err := errors.Join(p.caller.SetKeys(p.keys), p.callee.SetKeys(wrong)); err != nil {
		t.Fatal(err)
	}
	if st := quiet(t, p.from[1], 2); st.AudioIn.Refused < 20 {
		t.Errorf("only %d packets were refused", st.AudioIn.Refused)
	}
}

// F3 in crypto/ATTACKS.md: nothing is sent before this device has keys, which are its
// consent.
func TestNothingLeavesBeforeKeys(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.negotiate(t)
	if err := p.callee.SetKeys(p.keys); err != nil {
		t.Fatal(err)
	}
	until[Connected](t, p.from[0], 10*time.Second, nil)
	until[Connected](t, p.from[1], 10*time.Second, nil)
	if st := quiet(t, p.from[1], 2); st.AudioIn.Refused != 0 {
		t.Errorf("%d packets left before the keys were set", st.AudioIn.Refused)
	}
	if err := p.caller.SetKeys(p.keys); err != nil {
		t.Fatal(err)
	}
	received(t, p.from[1], 20, 0, 5*time.Second)
	if err := p.caller.SetKeys(p.keys); !errors.Is(err, ErrKeys) {
		t.Errorf("keys could be set twice: %v", err)
	}
}

func TestFingerprintMismatchCloses(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	ctx := context.Background()
	offer, print, err := p.caller.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	print[0] ^= 1
	answer, calleePrint, err := p.callee.Accept(ctx, offer, print)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.caller.Answer(answer, calleePrint), p.caller.SetKeys(p.keys), p.callee.SetKeys(p.keys)); err != nil {
		t.Fatal(err)
	}
	until(t, p.from[1], 15*time.Second, func(f Failed) bool { return errors.Is(f.Err, ErrFingerprint) })
	p.close(t)
	if in := p.callee.Summary().AudioIn; in.Packets+in.Refused != 0 {
		t.Errorf("media were read: %+v", in)
	}
}

// TestComparedAfterConnecting passes the certificate that pion accepts but expects another
// one: our own check must close the call.
func TestComparedAfterConnecting(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.negotiate(t)
	p.callee.mu.Lock()
	p.callee.fingerprint[5] ^= 0x80
	p.callee.mu.Unlock()
	if err := errors.Join(p.caller.SetKeys(p.keys), p.callee.SetKeys(p.keys)); err != nil {
		t.Fatal(err)
	}
	until(t, p.from[1], 15*time.Second, func(f Failed) bool { return errors.Is(f.Err, ErrFingerprint) })
	p.close(t)
	if in := p.callee.Summary().AudioIn; in.Packets != 0 {
		t.Errorf("media were read: %+v", in)
	}
}

// A session-level fingerprint in an SDP must have no effect.
func TestFingerprintsOfTheSDPDoNotCount(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	ctx := context.Background()
	offer, print, err := p.caller.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var evil [FingerprintSize]byte
	rand.Read(evil[:])
	line := "a=fingerprint:sha-256 " + colons(evil[:]) + "\r\n"
	forged := strings.Replace(offer, "m=", line+"m=", 1)
	forged = strings.Replace(forged, "a=mid:", line+"a=mid:", 1)
	trusted, _, err := trustedSDP(forged, print)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(trusted, colons(evil[:])) || strings.Count(trusted, "a=fingerprint:") != 1 || !strings.Contains(trusted, colons(print)) {
		t.Fatalf("not the trusted fingerprint:\n%s", trusted)
	}
	answer, calleePrint, err := p.callee.Accept(ctx, forged, print)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.caller.Answer(answer, calleePrint), p.caller.SetKeys(p.keys), p.callee.SetKeys(p.keys)); err != nil {
		t.Fatal(err)
	}
	received(t, p.from[1], 10, 0, 10*time.Second)
}

func TestSignalsAreBounded(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := strangers(t, a, b) // without candidates: the caller's own ones would come after the flood and be rejected with it
	print := make([]byte, FingerprintSize)
	for name, text := range map[string]string{
		"empty": "", "large": "v=0\r\n" + strings.Repeat("a=x\r\n", MaxSDP/5+1), "noise": "hello", "no section": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
		"data channel":  "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
		"many sections": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" + strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", maxSections+1),
	} {
		if _, _, err := p.callee.Accept(context.Background(), text, print); !errors.Is(err, ErrSignal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	offer, _, err := p.caller.Offer(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.callee.Accept(context.Background(), offer, print[:20]); !errors.Is(err, ErrSignal) {
		t.Errorf("short fingerprint: %v", err)
	}
	for _, c := range []string{"", "candidate", "candidate:1 1 udp", "candidate:" + strings.Repeat("x ", MaxCandidate), "candidate:1 1 udp 1 1.2.3.4 5 typ host\r\na=evil"} {
		if err := p.callee.AddCandidate(c); !errors.Is(err, ErrSignal) {
			t.Errorf("candidate %.20q: %v", c, err)
		}
	}
	for i := range MaxCandidates + 1 {
		err = p.callee.AddCandidate("candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host")
		if err != nil {
			if i < MaxCandidates/2 {
				t.Fatalf("candidate %d: %v", i, err)
			}
			break
		}
	}
	if !errors.Is(err, ErrSignal) {
		t.Errorf("candidates without end: %v", err)
	}
}

// F11 in crypto/ATTACKS.md: a packet can be decrypted only once, whatever SRTP does.
func TestReplayedRTPIsDropped(t *testing.T) {
	t.Parallel()
	k := newKeys()
	secrets := seal.MediaSecrets{Call: k.CallID, Caller: k.Caller, Callee: k.Callee, Offer: k.Offer, Answer: k.Answer}
	keys := seal.NewMediaKeys(secrets)
	sealer, err := keys.Sealer(seal.MediaFromCaller, 7)
	if err != nil {
		t.Fatal(err)
	}
	opener, err := keys.Opener(seal.MediaFromCaller, 7)
	if err != nil {
		t.Fatal(err)
	}
	in := &inTrack{kind: Audio}
	st := &stream{track: in, codec: Opus}
	make := func(seq uint16) *rtp.Packet {
		h := rtp.Header{Version: 2, PayloadType: opusType, SequenceNumber: seq, Timestamp: uint32(seq) * 960, SSRC: 7}
		sealed, err := sealer.Seal(nil, boundHeader(&h), []byte{0xf8, 0xff, 0xfe})
		if err != nil {
			t.Fatal(err)
		}
		return &rtp.Packet{Header: h, Payload: sealed}
	}
	first := make(1)
	again := first.Clone()
	otherSeq := first.Clone()
	otherSeq.SequenceNumber++
	if !st.open(opener, first) {
		t.Fatal("a good packet does not open")
	}
	if st.open(opener, again) {
		t.Error("a captured packet opened twice")
	}
	if st.open(opener, otherSeq) {
		t.Error("a captured packet opened under another sequence number")
	}
	for i := range 5 {
		forged := make(uint16(10 + i))
		switch i {
		case 0:
			forged.Timestamp++
		case 1:
			forged.Marker = true
		case 2:
			forged.SSRC++
		case 3:
			forged.PayloadType--
		case 4:
			forged.Payload[len(forged.Payload)-1] ^= 1
		}
		if st.open(opener, forged) {
			t.Errorf("forged packet %d opened", i)
		}
	}
	if in.meter.total.Refused != 7 || in.meter.total.Packets != 1 {
		t.Errorf("%+v", in.meter.total)
	}
	if _, err := keys.Sealer(seal.MediaFromCaller, 7); !errors.Is(err, seal.ErrSSRC) {
		t.Errorf("an SSRC was used twice: %v", err)
	}
}

// F10 in crypto/ATTACKS.md: with relays only, no address of this host is revealed.
func TestRelayOnlyTellsNoAddress(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	a.options.RelayOnly = true
	p := join(t, a, b)
	offer, _, err := p.caller.Offer(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(offer, "candidate") || strings.Contains(offer, "127.0.0.1") {
		t.Errorf("the offer has an address:\n%s", offer)
	}
	limit := time.After(10 * time.Second)
	for done := false; !done; {
		select {
		case e := <-p.from[0]:
			if c, ok := e.(Candidate); ok {
				t.Errorf("candidate without a relay: %s", c.SDP)
			}
			_, done = e.(CandidatesDone)
		case <-limit:
			t.Fatal("gathering does not end")
		}
	}
	for in, want := range map[string]string{
		"candidate:1 1 udp 1 192.0.2.9 3478 typ relay raddr 10.0.0.5 rport 40000": "candidate:1 1 udp 1 192.0.2.9 3478 typ relay raddr 0.0.0.0 rport 0",
		"candidate:1 1 udp 1 10.0.0.5 4000 typ host":                              "",
		"candidate:1 1 udp 1 192.0.2.1 4000 typ srflx raddr 10.0.0.5 rport 4000":  "",
	} {
		if got, relayed := hideBase(in); relayed != (want != "") || relayed && got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
