package seal_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/seal"
)

// A second implementation, written from SPEC.md "Calls" alone.

func specMediaKey(s seal.MediaSecrets, direction byte, ssrc uint32) (key, salt []byte) {
	info := "secmsg v1 call media" + string(s.Call[:]) + string(s.Caller[:]) + string(s.Callee[:]) + string([]byte{direction}) +
		string(binary.BigEndian.AppendUint32(nil, ssrc))
	okm, err := hkdf.Key(sha512.New, append(bytes.Clone(s.Offer[:]), s.Answer[:]...), nil, info, 44)
	if err != nil {
		return nil, nil
	}
	return okm[:32], okm[32:]
}

func specMediaSeal(s seal.MediaSecrets, direction byte, ssrc uint32, counter uint64, rtp, payload []byte) []byte {
	header := []byte{direction<<4 | byte(counter)}
	if counter > 7 {
		short := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, counter), "\x00")
		header = append([]byte{direction<<4 | 8 | byte(len(short)-1)}, short...)
	}
	return specMediaSealed(s, direction, ssrc, counter, header, rtp, payload)
}

// specMediaSealed seals with an arbitrary header, as a hostile peer may.
func specMediaSealed(s seal.MediaSecrets, direction byte, ssrc uint32, counter uint64, header, rtp, payload []byte) []byte {
	key, salt := specMediaKey(s, direction, ssrc)
	nonce := bytes.Clone(salt)
	for i, b := range binary.BigEndian.AppendUint64(nil, counter) {
		nonce[4+i] ^= b
	}
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil
	}
	return append(bytes.Clone(header), aead.Seal(nil, nonce, payload, append(bytes.Clone(header), rtp...))...)
}

func mediaSecrets() seal.MediaSecrets {
	var s seal.MediaSecrets
	for i, b := range [][]byte{s.Call[:], s.Caller[:], s.Callee[:], s.Offer[:], s.Answer[:]} {
		for j := range b {
			b[j] = byte(16*i + j)
		}
	}
	return s
}

func rtpHeader(seq uint16, ssrc uint32) []byte {
	h := []byte{0x80 | 111}
	h = binary.BigEndian.AppendUint16(h, seq)
	h = binary.BigEndian.AppendUint32(h, 960*uint32(seq))
	return binary.BigEndian.AppendUint32(h, ssrc)
}

func mediaEnds(t *testing.T, d seal.MediaDirection, ssrc uint32) (*seal.MediaSealer, *seal.MediaOpener) {
	t.Helper()
	keys := seal.NewMediaKeys(mediaSecrets())
	s, err := keys.Sealer(d, ssrc)
	if err != nil {
		t.Fatal(err)
	}
	o, err := keys.Opener(d, ssrc)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// mediaVectors is crypto/testdata/media.json.
type mediaVectors struct {
	Comment string        `json:"comment"`
	Call    hexText       `json:"call_id"`
	Caller  hexText       `json:"caller_device"`
	Callee  hexText       `json:"callee_device"`
	Offer   hexText       `json:"offer_secret"`
	Answer  hexText       `json:"answer_secret"`
	Streams []mediaStream `json:"streams"`
}

// mediaStream is one direction and SSRC, with packets in the order in which they are opened. A packet
// without payload is refused.
type mediaStream struct {
	Direction byte          `json:"direction"`
	SSRC      uint32        `json:"ssrc"`
	Key       hexText       `json:"key"`
	Salt      hexText       `json:"salt"`
	Packets   []mediaPacket `json:"packets"`
}

type mediaPacket struct {
	Counter uint64  `json:"counter,string"`
	RTP     hexText `json:"rtp"` // bytes 1 to 11 of the header
	Payload hexText `json:"payload,omitempty"`
	Sealed  hexText `json:"sealed"`
	Refused string  `json:"refused,omitempty"` // the reason
}

func makeMediaVectors() mediaVectors {
	s := mediaSecrets()
	v := mediaVectors{
		Comment: `crypto/SPEC.md "Calls"`, Call: s.Call[:], Caller: s.Caller[:], Callee: s.Callee[:], Offer: s.Offer[:], Answer: s.Answer[:],
	}
	for direction, ssrc := range []uint32{0x01020304, 0xfffefdfc} {
		d := byte(direction)
		m := mediaStream{Direction: d, SSRC: ssrc}
		m.Key, m.Salt = specMediaKey(s, d, ssrc)
		packet := func(counter uint64) mediaPacket {
			rtp, payload := rtpHeader(uint16(counter), ssrc), fmt.Appendf(nil, "payload %d", counter)
			return mediaPacket{Counter: counter, RTP: rtp, Payload: payload, Sealed: specMediaSeal(s, d, ssrc, counter, rtp, payload)}
		}
		add := func(counters ...uint64) {
			for _, c := range counters {
				m.Packets = append(m.Packets, packet(c))
			}
		}
		refuse := func(why string, p mediaPacket) {
			p.Payload, p.Refused = nil, why
			m.Packets = append(m.Packets, p)
		}
		flip := func(b []byte, i int) []byte { c := bytes.Clone(b); c[i] ^= 1; return c }
		add(0, 1, 2, 7, 8, 9, 254, 255, 256, 257)
		refuse("the counter was opened before", packet(9))
		add(5) // late, within the window
		fresh := packet(300)
		changed := fresh
		changed.RTP = flip(fresh.RTP, 0)
		refuse("another marker or payload type", changed)
		changed = fresh
		changed.Sealed = flip(fresh.Sealed, len(fresh.Sealed)-1)
		refuse("the tag is changed", changed)
		changed = fresh
		changed.Sealed = fresh.Sealed[:16]
		refuse("fewer than 17 bytes", changed)
		changed = fresh
		changed.Sealed = specMediaSeal(s, 1-d, ssrc, 300, fresh.RTP, []byte("x"))
		refuse("the other direction's KID", changed)
		// Counter 6 in the form of a larger one, and 300 in three bytes: not the shortest forms.
		long := func(counter uint64, header []byte) mediaPacket {
			rtp := rtpHeader(uint16(counter), ssrc)
			return mediaPacket{Counter: counter, RTP: rtp, Sealed: specMediaSealed(s, d, ssrc, counter, header, rtp, []byte("x"))}
		}
		refuse("a counter up to 7 in the long form", long(6, []byte{d<<4 | 8, 6}))
		refuse("a counter in more bytes than it needs", long(300, []byte{d<<4 | 8 | 2, 0, 1, 44}))
		refuse("a KID of the long form", long(3, []byte{0x80 | d<<4 | 3}))
		last := specMediaSeal(s, d, ssrc, math.MaxUint64, fresh.RTP, []byte("x"))
		refuse("the counter 2^64 - 1", mediaPacket{Counter: math.MaxUint64, RTP: fresh.RTP, Sealed: last})
		add(1 << 16)
		refuse("1,024 behind the newest", packet(1<<16-1024))
		add(1<<16 - 1023)
		v.Streams = append(v.Streams, m)
	}
	return v
}

// TestMediaVectors checks the frozen packets with both implementations.
func TestMediaVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "media.json")
	if *update {
		b, err := json.MarshalIndent(makeMediaVectors(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v mediaVectors
	if err := json.Unmarshal(b, &v); err != nil || len(v.Streams) != 2 {
		t.Fatal(len(v.Streams), err)
	}
	secrets := seal.MediaSecrets{Call: [16]byte(v.Call), Caller: [16]byte(v.Caller), Callee: [16]byte(v.Callee), Offer: [32]byte(v.Offer), Answer: [32]byte(v.Answer)}
	if secrets != mediaSecrets() {
		t.Fatal("other secrets")
	}
	refused := 0
	for _, m := range v.Streams {
		s, o := mediaEnds(t, seal.MediaDirection(m.Direction), m.SSRC)
		if k, salt := specMediaKey(secrets, m.Direction, m.SSRC); !bytes.Equal(k, m.Key) || !bytes.Equal(salt, m.Salt) {
			t.Error("key or salt differs from the frozen vector")
		}
		counter := uint64(0) // the sealer's counter, which never goes back
		for i, p := range m.Packets {
			if p.Refused != "" {
				refused++
				if got, err := o.Open(p.RTP, p.Sealed); err == nil {
					t.Errorf("packet %d, %s: opened %q", i, p.Refused, got)
				}
				continue
			}
			if spec := specMediaSeal(secrets, m.Direction, m.SSRC, p.Counter, p.RTP, p.Payload); !bytes.Equal(spec, p.Sealed) {
				t.Errorf("packet %d differs from the specification", i)
			}
			if got, err := o.Open(p.RTP, p.Sealed); err != nil || !bytes.Equal(got, p.Payload) {
				t.Errorf("packet %d: %q %v", i, got, err)
			}
			if p.Counter < counter {
				continue
			}
			for ; counter < p.Counter; counter++ {
				if _, err := s.Seal(nil, p.RTP, nil); err != nil {
					t.Fatal(err)
				}
			}
			sealed, err := s.Seal(nil, p.RTP, p.Payload)
			if err != nil || !bytes.Equal(sealed, p.Sealed) {
				t.Errorf("packet %d differs from the frozen vector: %v", i, err)
			}
			counter++
		}
	}
	if refused < 20 {
		t.Errorf("%d refusals", refused)
	}
}

// TestMediaCounters checks the header of the SFrame specification at the limits of its lengths, against
// the second implementation.
func TestMediaCounters(t *testing.T) {
	for _, counter := range []uint64{0, 7, 8, 255, 256, 1<<16 - 1, 1 << 16, 1<<32 - 1, 1 << 32, 1<<56 - 1, 1 << 56, 1<<64 - 2} {
		_, o := mediaEnds(t, seal.MediaFromCallee, 9)
		rtp := rtpHeader(1, 9)
		sealed := specMediaSeal(mediaSecrets(), 1, 9, counter, rtp, []byte("x"))
		if got, err := o.Open(rtp, sealed); err != nil || string(got) != "x" {
			t.Errorf("counter %d: %v", counter, err)
		}
		if len(sealed) > seal.MediaOverhead+1 {
			t.Errorf("counter %d: %d bytes", counter, len(sealed))
		}
	}
}

// F11: every packet opens once, in any order within the window, and never when it is older.
func TestMediaReplay(t *testing.T) {
	s, o := mediaEnds(t, seal.MediaFromCaller, 5)
	type packet struct{ rtp, sealed []byte }
	var all []packet
	for i := range 5 * seal.MediaWindow {
		rtp := rtpHeader(uint16(i), 5)
		sealed, err := s.Seal(nil, rtp, []byte("sound"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, packet{rtp, sealed})
	}
	opened := make([]bool, len(all))
	newest := 0
	random := rand.New(rand.NewPCG(3, 4))
	for range 8 * len(all) {
		i := max(0, min(len(all)-1, newest+random.IntN(2*seal.MediaWindow)-3*seal.MediaWindow/2))
		_, err := o.Open(all[i].rtp, all[i].sealed)
		want := !opened[i] && (newest == 0 || i > newest-seal.MediaWindow)
		if (err == nil) != want || err != nil && !errors.Is(err, seal.ErrReplay) {
			t.Fatalf("packet %d, newest %d, opened %t: %v", i, newest, opened[i], err)
		}
		if err == nil {
			opened[i] = true
			newest = max(newest, i)
		}
	}
	if newest < 2*seal.MediaWindow {
		t.Fatalf("the window moved to %d only", newest)
	}
}

func TestMediaForgeries(t *testing.T) {
	s, o := mediaEnds(t, seal.MediaFromCaller, 5)
	rtp := rtpHeader(0, 5)
	var sealed []byte
	for range 20 { // a counter of two bytes in the header
		var err error
		if sealed, err = s.Seal(nil, rtp, []byte("sound")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x01
		if _, err := o.Open(rtp, bad); err == nil {
			t.Errorf("byte %d of the packet was changed", i)
		}
	}
	for i := range rtp {
		bad := bytes.Clone(rtp)
		bad[i] ^= 0x01
		if _, err := o.Open(bad, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("byte %d of the RTP header was changed: %v", i, err)
		}
	}
	long := append([]byte{sealed[0] + 1, 0}, sealed[1:]...) // the same counter in two bytes
	for n := range sealed {
		if _, err := o.Open(rtp, sealed[:n]); err == nil {
			t.Errorf("a packet of %d bytes opened", n)
		}
	}
	if _, err := o.Open(rtp, long); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("a longer form of the counter: %v", err)
	}
	if _, err := o.Open(rtp[1:], sealed); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("a short RTP header: %v", err)
	}
	if _, err := s.Seal(nil, rtp[1:], nil); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("a short RTP header: %v", err)
	}
	if got, err := o.Open(rtp, sealed); err != nil || string(got) != "sound" {
		t.Errorf("the valid packet does not open after forgeries: %v", err)
	}
}

// TestMediaKeysAreApart changes every input of the derivation.
func TestMediaKeysAreApart(t *testing.T) {
	rtp := rtpHeader(0, 5)
	s, _ := mediaEnds(t, seal.MediaFromCaller, 5)
	sealed, err := s.Seal(nil, rtp, []byte("sound"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*seal.MediaSecrets){
		"call": func(s *seal.MediaSecrets) { s.Call[0]++ }, "caller": func(s *seal.MediaSecrets) { s.Caller[15]++ },
		"callee": func(s *seal.MediaSecrets) { s.Callee[0]++ }, "offer": func(s *seal.MediaSecrets) { s.Offer[31]++ },
		"answer": func(s *seal.MediaSecrets) { s.Answer[0]++ },
	} {
		secrets := mediaSecrets()
		change(&secrets)
		o, err := seal.NewMediaKeys(secrets).Opener(seal.MediaFromCaller, 5)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Open(rtp, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	_, other := mediaEnds(t, seal.MediaFromCallee, 5)
	if _, err := other.Open(rtp, sealed); err == nil {
		t.Error("the other direction opens it")
	}
	_, other = mediaEnds(t, seal.MediaFromCaller, 6)
	if _, err := other.Open(rtp, sealed); !errors.Is(err, seal.ErrOpen) {
		t.Error("another SSRC opens it")
	}
}

func TestMediaSSRCsAreUsedOnce(t *testing.T) {
	keys := seal.NewMediaKeys(mediaSecrets())
	for i := range uint32(100) {
		_, err := keys.Sealer(seal.MediaFromCaller, i)
		if (err != nil) != (i >= 16) {
			t.Fatalf("SSRC %d: %v", i, err)
		}
	}
	if _, err := keys.Opener(seal.MediaFromCallee, 3); err != nil {
		t.Error(err)
	}
	for _, again := range []func() error{
		func() error { _, err := keys.Sealer(seal.MediaFromCaller, 3); return err },
		func() error { _, err := keys.Opener(seal.MediaFromCallee, 3); return err },
	} {
		if err := again(); !errors.Is(err, seal.ErrSSRC) {
			t.Errorf("twice: %v", err)
		}
	}
	if _, err := seal.NewMediaKeys(mediaSecrets()).Sealer(2, 1); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("direction 2: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys); strings.Contains(text, "48, 49") || strings.Contains(text, "4041") {
		t.Errorf("printed: %s", text)
	}
	keys.Wipe()
	if _, err := keys.Sealer(seal.MediaFromCallee, 77); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("wiped: %v", err)
	}
}

// TestMediaLastCounter: a peer that has the keys and jumps to the last counters neither hangs the
// opener nor resets its window.
func TestMediaLastCounter(t *testing.T) {
	_, o := mediaEnds(t, seal.MediaFromCaller, 7)
	packet := func(counter uint64) []byte {
		return specMediaSeal(mediaSecrets(), 0, 7, counter, rtpHeader(1, 7), []byte("sound"))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, counter := range []uint64{5, math.MaxUint64 - 1} {
			if _, err := o.Open(rtpHeader(1, 7), packet(counter)); err != nil {
				t.Errorf("counter %d: %v", counter, err)
			}
		}
		if _, err := o.Open(rtpHeader(1, 7), packet(math.MaxUint64)); !errors.Is(err, seal.ErrFormat) {
			t.Errorf("the last counter: %v", err)
		}
		for _, counter := range []uint64{5, math.MaxUint64 - 1} {
			if _, err := o.Open(rtpHeader(1, 7), packet(counter)); !errors.Is(err, seal.ErrReplay) {
				t.Errorf("counter %d a second time: %v", counter, err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("opening does not end")
	}
}

func FuzzMediaOpen(f *testing.F) {
	rtp := rtpHeader(0, 5)
	f.Add(specMediaSeal(mediaSecrets(), 0, 5, 3, rtp, []byte("sound")))
	f.Add(specMediaSeal(mediaSecrets(), 0, 5, 1<<40, rtp, []byte("sound")))
	f.Add([]byte{0x0f})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		keys := seal.NewMediaKeys(mediaSecrets())
		o, err := keys.Opener(seal.MediaFromCaller, 5)
		if err != nil {
			t.Fatal(err)
		}
		if payload, err := o.Open(rtp, sealed); err == nil && !bytes.Equal(payload, []byte("sound")) {
			t.Fatalf("forged: %q", payload)
		}
	})
}
