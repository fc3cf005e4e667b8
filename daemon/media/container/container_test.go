package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// key returns the header of a VP8 key frame with a size, and some bytes.
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

// sps and pps are the parameter sets of a baseline stream of 640x480.
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
	pps, idr, idr2 := []byte{0x68, 0xce}, []byte{0x65, 0x88, 1}, []byte{0x65, 0x48, 2} // the second slice does not start at macroblock zero
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

// slow returns few bytes at a time.
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

// wav returns a file with these bytes as samples in one format.
func wav(kind, bits uint16, samples ...byte) []byte {
	b := append([]byte("RIFF\xff\xff\xff\xffWAVEfmt "), 16, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, kind)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 8000*uint32(bits)/8)
	b = binary.LittleEndian.AppendUint16(b, bits/8)
	b = binary.LittleEndian.AppendUint16(b, bits)
	b = append(b, "data"...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(samples))), samples...)
}

// TestWAVFormats: every common sample format is read, in blocks of any size. The values of
// A-law and mu-law come from ITU-T G.711, tables 1 and 2.
func TestWAVFormats(t *testing.T) {
	float := func(v ...float64) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
		return b
	}
	float32s := func(v ...float32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	for name, c := range map[string]struct {
		file []byte
		want []int16
	}{
		"8 bits":    {wav(1, 8, 0, 128, 255), []int16{-32768, 0, 32512}},
		"16 bits":   {wav(1, 16, 1, 0, 0xff, 0xff), []int16{1, -1}},
		"24 bits":   {wav(1, 24, 0xaa, 1, 0, 0xaa, 0xff, 0xff), []int16{1, -1}},
		"32 bits":   {wav(1, 32, 9, 9, 1, 0, 9, 9, 0xff, 0xff), []int16{1, -1}},
		"float":     {wav(3, 32, float32s(0, 1, -1, 0.5, 7, float32(math.NaN()))...), []int16{0, 32767, -32768, 16384, 32767, 0}},
		"double":    {wav(3, 64, float(0, 1, -1, -9, 0.25)...), []int16{0, 32767, -32768, -32768, 8192}},
		"A-law":     {wav(6, 8, 0xd5, 0x55, 0xaa, 0x2a, 0x80), []int16{8, -8, 32256, -32256, 5504}},
		"mu-law":    {wav(7, 8, 0xff, 0x7f, 0x80, 0x00, 0xf0), []int16{0, 0, 32124, -32124, 120}},
		"a cut end": {wav(1, 16, 1, 0, 2), []int16{1}},
	} {
		for _, size := range []int{1, 3, 100} {
			r, err := NewWAVReader(&slow{c.file, size})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			b, err := io.ReadAll(r)
			var got []int16
			for i := 0; i+1 < len(b); i += 2 {
				got = append(got, int16(binary.LittleEndian.Uint16(b[i:])))
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s in blocks of %d: %v, %v, want %v", name, size, got, err, c.want)
			}
		}
	}
	if _, err := NewWAVReader(bytes.NewReader(wav(85, 8, 1))); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 85") {
		t.Errorf("MP3 in WAV: %v", err)
	}
}

// TestWAVCutOff: a file with less sound than its header states is an error; a header that
// was written to a pipe states nothing.
func TestWAVCutOff(t *testing.T) {
	for size, want := range map[uint32]error{
		0: nil, 2: nil, 4: nil, 6: io.ErrUnexpectedEOF, 1 << 20: io.ErrUnexpectedEOF,
		0x7ffff000: nil, 1 << 31: nil, math.MaxUint32: nil,
	} {
		file := wav(1, 16, 1, 0, 2, 0)
		binary.LittleEndian.PutUint32(file[len(file)-8:], size)
		r, err := NewWAVReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, want) {
			t.Errorf("%d bytes announced: %v, want %v", size, err, want)
		}
	}
}

// TestOggChain: sound continues in chained streams, and padding after the last one is not
// an error.
func TestOggChain(t *testing.T) {
	var b bytes.Buffer
	for i := range 3 {
		w := NewOggWriter(&b, i%2+1)
		for range 4 {
			if err := w.Write([]byte{31 << 3, byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(b.Bytes())
	b.Write(make([]byte, 100))
	for _, stream := range [][]byte{whole, b.Bytes(), append(bytes.Clone(whole), '\n')} {
		r, err := NewOggReader(bytes.NewReader(stream))
		n := 0
		for err == nil {
			var p []byte
			if p, _, err = r.Next(); err == nil && p[1] != byte(n/4) {
				t.Errorf("packet %d is %x", n, p)
			}
			n++
		}
		if !errors.Is(err, io.EOF) || n != 13 {
			t.Errorf("%d packets, then %v", n-1, err)
		}
	}
	if _, err := NewOggReader(bytes.NewReader(nil)); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "empty") {
		t.Errorf("nothing: %v", err)
	}
	cut := whole[:len(whole)-3]
	r, err := NewOggReader(bytes.NewReader(cut))
	for err == nil {
		_, _, err = r.Next()
	}
	if errors.Is(err, io.EOF) {
		t.Error("a chained stream that is cut off passes for whole")
	}
}

// TestIVFLength: the header contains the length of a recording in ticks of its time base.
func TestIVFLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ivf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewIVFWriter(f)
	for i := range 75 {
		if err := w.Write(vp8Key(64, 48), time.Duration(i)*40*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ticks, den, num := binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:])
	if d := time.Duration(ticks) * time.Second * time.Duration(num) / time.Duration(den); d != 3*time.Second {
		t.Errorf("75 frames at 25 a second last %s", d)
	}
}

// TestBFramesAreRefused: a stream whose decoding order differs from its display order is
// rejected with an explanation.
func TestBFramesAreRefused(t *testing.T) {
	b := []byte{0x01, 0x9f, 1} // first macroblock 0, slice type 6
	r := NewH264Reader(bytes.NewReader(annexB(sps(), []byte{0x68, 0xce}, []byte{0x65, 0x88, 1}, b, []byte{0x61, 0x9a, 3})))
	var err error
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "B-frames") {
		t.Errorf("B-frames: %v", err)
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

// TestMKVDuration: a file contains its duration, a pipe does not.
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
		const most = 1 << 16 // a reader that does not end would hang here
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
