package container

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// key is a VP8 key frame's header with a size, and some bytes.
func vp8Key(w, h byte) []byte {
	return []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, w, 0, h, 0, 1, 2, 3}
}

func TestIVFRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewIVFWriter(&b)
	frames := [][]byte{vp8Key(64, 48), {1, 2, 3}, {1, 5}}
	for i, f := range frames {
		if err := w.Write(f, time.Duration(i)*40*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	r, err := NewIVFReader(&b)
	if err != nil || r.Width != 64 || r.Height != 48 {
		t.Fatalf("%+v %v", r, err)
	}
	for i, f := range frames {
		got, pts, err := r.Next()
		if err != nil || !bytes.Equal(got, f) || pts != time.Duration(i)*40*time.Millisecond {
			t.Fatalf("frame %d: %v %s %v", i, got, pts, err)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("end: %v", err)
	}
}

// sps and pps are those of a stream of 640x480 at baseline.
func sps() []byte { return []byte{0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x3d, 0x90} }

func annexB(nals ...[]byte) []byte {
	var b []byte
	for i, n := range nals {
		if i%2 == 0 {
			b = append(b, 0)
		}
		b = append(append(b, 0, 0, 1), n...)
	}
	return b
}

func TestH264SplitsAtPictures(t *testing.T) {
	pps, idr, idr2 := []byte{0x68, 0xce}, []byte{0x65, 0x88, 1}, []byte{0x65, 0x48, 2} // the second slice begins later
	p := []byte{0x61, 0x9a, 3}
	stream := annexB(sps(), pps, idr, idr2, p, []byte{0x09, 0xf0}, []byte{0x06, 5}, p, sps(), pps, idr)
	want := []struct {
		nals int
		key  bool
	}{{4, true}, {1, false}, {3, false}, {3, true}}
	for _, chunk := range []int{1, 7, 1000} {
		r := NewH264Reader(&slow{stream, chunk})
		for i, w := range want {
			unit, err := r.Next()
			if err != nil || len(H264NALs(unit)) != w.nals || H264IsKey(unit) != w.key {
				t.Fatalf("chunks of %d, unit %d: %x %v", chunk, i, unit, err)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("end: %v", err)
		}
	}
	if _, err := NewH264Reader(bytes.NewReader([]byte("hello"))).Next(); !errors.Is(err, ErrFormat) {
		t.Errorf("no start code: %v", err)
	}
}

// slow gives few bytes at a time.
type slow struct {
	b     []byte
	chunk int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.chunk)], s.b)
	s.b = s.b[n:]
	return n, nil
}

func TestOggRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewOggWriter(&b, 2)
	var packets [][]byte
	for i := range 60 {
		packets = append(packets, append([]byte{31<<3 | 4}, bytes.Repeat([]byte{byte(i)}, i*20)...))
	}
	for _, p := range packets {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stream := bytes.Clone(b.Bytes())
	r, err := NewOggReader(&b)
	if err != nil || r.Channels != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	for i, p := range packets {
		got, d, err := r.Next()
		if err != nil || !bytes.Equal(got, p) || d != 20*time.Millisecond {
			t.Fatalf("packet %d: %d bytes, %s, %v", i, len(got), d, err)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("end: %v", err)
	}
	stream[len(stream)-1] ^= 1
	r, err = NewOggReader(bytes.NewReader(stream))
	for err == nil {
		_, _, err = r.Next()
	}
	if !errors.Is(err, ErrFormat) {
		t.Errorf("a changed byte: %v", err)
	}
}

func TestWAVRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewWAVWriter(&b, 16000)
	if err := w.Write([]int16{1, -2, 300}); err != nil {
		t.Fatal(err)
	}
	r, err := NewWAVReader(&b)
	if err != nil || r.Rate != 16000 || r.Channels != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, []byte{1, 0, 0xfe, 0xff, 0x2c, 1}) {
		t.Fatalf("%x %v", got, err)
	}
}

func TestParseSPS(t *testing.T) {
	s, err := ParseSPS(sps())
	if err != nil || s.Width != 640 || s.Height != 480 {
		t.Errorf("%+v %v", s, err)
	}
	for n := range 6 {
		if _, err := ParseSPS(sps()[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestMKVDuration: a file says how long it lasts, a pipe says nothing of it.
func TestMKVDuration(t *testing.T) {
	write := func(w io.Writer) *MKVWriter {
		m, err := NewMKVWriter(w, "webm", []MKVTrack{{Codec: "V_VP8", Width: 64, Height: 48}})
		if err == nil {
			err = errors.Join(m.Write(0, vp8Key(64, 48), 0, true), m.Write(0, []byte{1, 2}, 1500*time.Millisecond, false), m.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	var pipe bytes.Buffer
	m := write(&pipe)
	file, err := os.Create(filepath.Join(t.TempDir(), "out.webm"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write(file)
	got, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := floatElement(idDuration, 1500)
	at := int(m.duration)
	if len(got) != pipe.Len() || !bytes.Equal(got[at:at+len(want)], want) {
		t.Errorf("the file has %x", got[at:at+len(want)])
	}
	if empty := element(idVoid, make([]byte, voidSize)); len(empty) != len(want) || !bytes.Equal(pipe.Bytes()[at:at+len(want)], empty) {
		t.Errorf("the pipe has %x", pipe.Bytes()[at:at+len(want)])
	}
	if !bytes.Equal(got[at+len(want):], pipe.Bytes()[at+len(want):]) || !bytes.Equal(got[:at], pipe.Bytes()[:at]) {
		t.Error("something else was overwritten")
	}
}

func FuzzReaders(f *testing.F) {
	var ivf, ogg, wav bytes.Buffer
	i := NewIVFWriter(&ivf)
	o := NewOggWriter(&ogg, 1)
	w := NewWAVWriter(&wav, 48000)
	if err := errors.Join(i.Write(vp8Key(64, 48), 0), o.Write([]byte{0xf8, 1}), o.Close(), w.Write([]int16{1})); err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{ivf.Bytes(), ogg.Bytes(), wav.Bytes(), annexB(sps(), []byte{0x68, 1}, []byte{0x65, 0x80}), nil} {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		const most = 1 << 16 // a reader that does not end hangs here
		if r, err := NewIVFReader(bytes.NewReader(b)); err == nil {
			for range most {
				if _, _, err := r.Next(); err != nil {
					break
				}
			}
		}
		if r, err := NewOggReader(bytes.NewReader(b)); err == nil {
			for range most {
				if _, _, err := r.Next(); err != nil {
					break
				}
			}
		}
		if r, err := NewWAVReader(bytes.NewReader(b)); err == nil {
			_, _ = io.Copy(io.Discard, r)
		}
		h := NewH264Reader(bytes.NewReader(b))
		for range most {
			unit, err := h.Next()
			if err != nil {
				break
			}
			H264IsKey(unit)
			AVCConfig(unit)
			AVCUnit(unit)
		}
		H264Size(b)
		VP8Size(b)
		OpusSpan(b)
		_, _ = ParseSPS(b)
	})
}
