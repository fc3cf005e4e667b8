package media

import (
	"bytes"
	"fmt"
	"time"

	"secmsg/daemon/media/container"
)

const (
	// headerWait is how much of one kind is buffered while the other has not begun, because
	// a file's header lists its tracks. A kind that begins later is lost.
	headerWait = 5 * time.Second
	// interleaveRecording and interleaveLive bound how far one kind may run ahead of the
	// other before it is written anyway: the longest wait for lost packets.
	interleaveRecording = 2 * time.Second
	interleaveLive      = 300 * time.Millisecond
	// muxMost and muxBytes bound the buffered frames, whose times come from the peer.
	muxMost  = 2048
	muxBytes = 32 << 20
)

// muxer writes Matroska or WebM, with frames in the order of their times.
type muxer struct {
	out    *output
	format Format
	live   bool
	ahead  time.Duration
	w      *container.MKVWriter
	tracks map[Kind]int // nil until the header is written
	codecs map[Kind]Codec
	queues map[Kind][]Frame
	bytes  int // in queues
	newest time.Duration
}

// full reports whether so much is buffered that frames must be written.
func (m *muxer) full(queue []Frame) bool { return len(queue) >= muxMost || m.bytes > muxBytes }

func newMuxer(out *output, f Format, live bool) *muxer {
	m := &muxer{out: out, format: f, live: live, ahead: interleaveRecording, codecs: map[Kind]Codec{}, queues: map[Kind][]Frame{}}
	if live {
		m.ahead = interleaveLive
	}
	return m
}

func (m *muxer) write(c Codec, f Frame) error {
	k := c.Kind()
	if _, ok := m.tracks[k]; m.tracks != nil && !ok {
		return fmt.Errorf("%s began too late for a track of its own", k)
	}
	if _, ok := m.codecs[k]; !ok && !f.Key {
		return nil
	}
	m.codecs[k] = c
	f.Data = bytes.Clone(f.Data)
	m.queues[k] = append(m.queues[k], f)
	m.bytes += len(f.Data)
	m.newest = max(m.newest, f.PTS)
	if m.w == nil {
		wait := headerWait
		if m.live {
			wait = interleaveLive * 3
		}
		if len(m.codecs) < 2 && m.newest-m.queues[k][0].PTS < wait && !m.full(m.queues[k]) {
			return nil
		}
		if err := m.header(); err != nil {
			return err
		}
	}
	return m.flush(false)
}

func (m *muxer) header() error {
	var tracks []container.MKVTrack
	m.tracks = map[Kind]int{}
	for _, k := range []Kind{Video, Audio} {
		if len(m.queues[k]) == 0 {
			continue
		}
		t, err := mkvTrack(m.codecs[k], m.queues[k][0].Data)
		if err != nil {
			return err
		}
		m.tracks[k] = len(tracks)
		tracks = append(tracks, t)
	}
	docType := "matroska"
	if m.format == WebM {
		docType = "webm"
	}
	var err error
	m.w, err = container.NewMKVWriter(m.out, docType, tracks)
	return err
}

// mkvTrack describes a track by its first frame, which is a key frame.
func mkvTrack(c Codec, frame []byte) (container.MKVTrack, error) {
	switch c {
	case VP8:
		w, h, _ := container.VP8Size(frame)
		return container.MKVTrack{Codec: "V_VP8", Width: w, Height: h}, nil
	case H264:
		w, h := container.H264Size(frame)
		private := container.AVCConfig(frame)
		if w == 0 || private == nil {
			return container.MKVTrack{}, fmt.Errorf("missing parameter sets: %w", ErrFormat)
		}
		return container.MKVTrack{Codec: "V_MPEG4/ISO/AVC", Private: private, Width: w, Height: h}, nil
	}
	channels := 1
	if container.OpusStereo(frame) {
		channels = 2
	}
	return container.MKVTrack{Codec: "A_OPUS", Private: container.OpusHead(channels), Channels: channels}, nil
}

// flush writes frames, earliest first, while every track has one or the earliest has waited
// long enough. With all it writes everything.
func (m *muxer) flush(all bool) error {
	for {
		next, found, complete := Audio, false, true
		for k := range m.tracks {
			switch q := m.queues[k]; {
			case len(q) == 0:
				complete = false
			case !found || q[0].PTS < m.queues[next][0].PTS:
				next, found = k, true
			}
		}
		if !found {
			return nil
		}
		q := m.queues[next]
		if !all && !complete && m.newest-q[0].PTS < m.ahead && !m.full(q) {
			return nil
		}
		f := q[0]
		q[0] = Frame{} // let it be collected
		m.queues[next] = q[1:]
		m.bytes -= len(f.Data)
		data := f.Data
		if m.codecs[next] == H264 {
			data = container.AVCUnit(data)
		}
		if err := m.w.Write(m.tracks[next], data, f.PTS, f.Key); err != nil {
			return err
		}
	}
}

func (m *muxer) close() error {
	if m.w == nil {
		if len(m.codecs) == 0 {
			return nil
		}
		if err := m.header(); err != nil {
			return err
		}
	}
	if err := m.flush(true); err != nil {
		return err
	}
	return m.w.Close()
}
