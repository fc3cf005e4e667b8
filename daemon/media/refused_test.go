package media

import (
	"errors"

	"path/filepath"
	"testing"
	"time"
)

// pictures8 and pictures264 are video sources without an encoder.
func pictures8() *fake {
	return &fake{codec: VP8, step: 40 * time.Millisecond, frame: func(f *fake) Frame {
		key := f.next == 0 || f.key
		return Frame{Data: vp8(key, 400), Key: key}
	}}
}

func pictures264() *fake {
	return &fake{codec: H264, step: 40 * time.Millisecond, frame: func(*fake) Frame {
		return Frame{Data: []byte("\x00\x00\x00\x01\x67\x42\xc0\x1e\xd9\x00\xa0\x3d\x90\x00\x00\x00\x01\x68\xce\x3c\x80\x00\x00\x00\x01\x65\x88\x84"), Key: true}
	}}
}

func sounds() *fake {
	return &fake{codec: Opus, step: opusFrame, frame: func(*fake) Frame { return Frame{Data: silence(opusFrame), Key: true} }}
}

// TestRefusedPicturesLeaveTheSound: media that one side cannot receive are refused for that
// kind only, in both directions, and both sides report it.
func TestRefusedPicturesLeaveTheSound(t *testing.T) {
	for name, c := range map[string]struct {
		video Source
		out   string
	}{
		"a recording of VP8 from H.264":     {pictures264(), "got.ivf"},
		"a WebM from H.264":                 {pictures264(), "got.webm"},
		"an H.264 recording from VP8":       {pictures8(), "got.h264"},
		"a recorder that wants no pictures": {pictures8(), ""},
	} {
		for _, recorder := range []Role{Caller, Callee} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				sends := side{sources: Sources{Audio: sounds(), Video: newFake(c.video)}, sinks: Sinks{Audio: nullSink{}}}
				records := side{sources: Sources{Audio: sounds()}, sinks: Sinks{Audio: nullSink{}}}
				if c.out != "" {
					records.sinks.Video = sink(t, Video, filepath.Join(t.TempDir(), c.out))
				}
				a, b := sends, records
				if recorder == Caller {
					a, b = records, sends
				}
				p := join(t, a, b)
				p.start(t)
				from := p.from[1]
				if recorder == Caller {
					from = p.from[0]
				}
				sender := p.from[0]
				if recorder == Caller {
					sender = p.from[1]
				}
				until(t, sender, 20*time.Second, func(e SourceEnded) bool { return e.Kind == Video && errors.Is(e.Err, ErrRefused) })
				if s := received(t, from, 10, 0, 20*time.Second); s.VideoIn.Frames != 0 {
					t.Errorf("pictures were taken: %+v", s.VideoIn)
				}
				received(t, sender, 10, 0, 20*time.Second)
			})
		}
	}
}

// newFake returns another source of the same frames.
func newFake(s Source) Source {
	if s.Codec() == H264 {
		return pictures264()
	}
	return pictures8()
}

// TestNothingThatBothTake: a call in which neither side accepts what the other sends fails
// with an explanation.
func TestNothingThatBothTake(t *testing.T) {
	p := join(t, side{sources: Sources{Video: pictures264()}},
		side{sinks: Sinks{Video: sink(t, Video, filepath.Join(t.TempDir(), "got.ivf"))}})
	offer, print, err := p.caller.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.callee.Accept(t.Context(), offer, print); !errors.Is(err, ErrRefused) {
		t.Errorf("accept: %v", err)
	}
}
