package media

import (
	"errors"
	"testing"
	"time"

	"bytes"
	"encoding/binary"
	"github.com/pion/rtcp"
	"io"
	"os"
	"path/filepath"
	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

// TestStreamsWithoutEnd: a peer that keeps using new SSRCs ends the call; a few more than
// negotiated are ignored.
func TestStreamsWithoutEnd(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 10, 0, 15*time.Second)
	send := func(from, to int) {
		for i := from; i < to; i++ {
			// An error means the end of the connection, which is expected.
			_ = p.caller.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: uint32(i)}})
		}
	}
	send(1, 20)
	received(t, p.from[1], p.callee.Summary().AudioIn.Frames+20, 0, 10*time.Second)
	send(20, 4*maxStreams)
	until(t, p.from[1], 10*time.Second, func(f Failed) bool { return errors.Is(f.Err, errStreams) })
}

// cutOff is a stream that breaks off.
type cutOff struct{ r io.Reader }

func (c cutOff) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// TestSamplesThatAreCutOff: truncated sound is an error, and an incomplete sample at the
// end is dropped.
func TestSamplesThatAreCutOff(t *testing.T) {
	for _, size := range []int{4 * 480, 4*480 + 1, 4*480 + 3} {
		for name, c := range map[string]struct {
			r    io.Reader
			want error
		}{
			"whole":   {bytes.NewReader(make([]byte, size)), io.EOF},
			"cut off": {cutOff{bytes.NewReader(make([]byte, size))}, io.ErrUnexpectedEOF},
		} {
			s := newResampler(c.r, 48000, 2)
			var err error
			for n, buffer := 0, make([]int16, 100); err == nil; n++ {
				if _, err = s.read(buffer); n > 480 {
					t.Fatalf("%s: it does not end", name)
				}
			}
			if err != c.want {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
		}
	}
}

// TestWAVThatIsCutOff: a file with less data than its header states is rejected before the
// call.
func TestWAVThatIsCutOff(t *testing.T) {
	if !codec.CanEncode {
		t.Skip("this build sends no WAV")
	}
	var b bytes.Buffer
	w := container.NewWAVWriter(&b, 48000)
	if err := w.Write(make([]int16, 48000)); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[uint32]error{1 << 20: ErrFormat, 1 << 16: nil, 0xffffffff: nil} {
		file := bytes.Clone(b.Bytes())
		binary.LittleEndian.PutUint32(file[40:], size)
		path := filepath.Join(t.TempDir(), "in.wav")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSource(Audio, path, SourceOptions{})
		if !errors.Is(err, want) {
			t.Errorf("%d bytes announced: %v", size, err)
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
