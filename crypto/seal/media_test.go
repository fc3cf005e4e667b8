package seal_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
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
	info := "secmsg call v1" + string(s.Call[:]) + string(s.Caller[:]) + string(s.Callee[:]) + string([]byte{direction}) +
		string(binary.BigEndian.AppendUint32(nil, ssrc))
	okm, err := hkdf.Key(sha512.New, append(bytes.Clone(s.Offer[:]), s.Answer[:]...), nil, info, 44)
	if err != nil {
		return nil, nil
	}
	return okm[:32], okm[32:]
}

func specMediaSeal(s seal.MediaSecrets, direction byte, ssrc uint32, counter uint64, rtp, payload []byte) []byte {
	key, salt := specMediaKey(s, direction, ssrc)
	header := []byte{direction<<4 | byte(counter)}
	if counter > 7 {
		short := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, counter), "\x00")
		header = append([]byte{direction<<4 | 8 | byte(len(short)-1)}, short...)
	}
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

type mediaVector struct {
	Direction byte     `json:"direction"`
	SSRC      uint32   `json:"ssrc"`
	RTP       []string `json:"rtp"`
	Payload   []string `json:"payload"`
	Sealed    []string `json:"sealed"`
}

// TestMediaVectors holds the frozen packets against both implementations.
func TestMediaVectors(t *testing.T) {
	path := filepath.Join("testdata", "vectors", "media.json")
	if *update {
		var all []mediaVector
		for d, ssrc := range map[seal.MediaDirection]uint32{seal.MediaFromCaller: 0x01020304, seal.MediaFromCallee: 0xfffefdfc} {
			s, _ := mediaEnds(t, d, ssrc)
			v := mediaVector{Direction: byte(d), SSRC: ssrc}
			for i := range 300 {
				rtp, payload := rtpHeader(uint16(i), ssrc), []byte(fmt.Sprintf("payload %d", i))
				sealed, err := s.Seal(nil, rtp, payload)
				if err != nil {
					t.Fatal(err)
				}
				if i > 9 && i < 254 {
					continue
				}
				v.RTP, v.Payload, v.Sealed = append(v.RTP, hex.EncodeToString(rtp)), append(v.Payload, string(payload)), append(v.Sealed, hex.EncodeToString(sealed))
				if i > 256 {
					break
				}
			}
			all = append(all, v)
		}
		b, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []mediaVector
	if err := json.Unmarshal(b, &all); err != nil || len(all) != 2 {
		t.Fatal(len(all), err)
	}
	for _, v := range all {
		s, o := mediaEnds(t, seal.MediaDirection(v.Direction), v.SSRC)
		counter := uint64(0)
		for i := range v.RTP {
			rtp, _ := hex.DecodeString(v.RTP[i])
			for ; counter < uint64(binary.BigEndian.Uint16(rtp[1:])); counter++ { // packets that are not in the file
				if _, err := s.Seal(nil, rtp, nil); err != nil {
					t.Fatal(err)
				}
			}
			sealed, err := s.Seal(nil, rtp, []byte(v.Payload[i]))
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(sealed) != v.Sealed[i] {
				t.Errorf("packet %d is not the frozen one", counter)
			}
			if spec := specMediaSeal(mediaSecrets(), v.Direction, v.SSRC, counter, rtp, []byte(v.Payload[i])); !bytes.Equal(spec, sealed) {
				t.Errorf("packet %d differs from the specification", counter)
			}
			if got, err := o.Open(rtp, sealed); err != nil || string(got) != v.Payload[i] {
				t.Errorf("packet %d: %q %v", counter, got, err)
			}
			counter++
		}
	}
}

// TestMediaCounters checks the header of the SFrame specification at the limits
// of its lengths, against the second implementation.
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

// F11: every packet opens once, in any order within the window, and never when
// it is older.
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
		t.Errorf("forgeries spoiled the good packet: %v", err)
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

// TestMediaLastCounter: a peer that has the keys and jumps to the end of the
// counters neither hangs the opener nor sets its window back.
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
