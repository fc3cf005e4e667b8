package container

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// Element ids of EBML and Matroska (RFC 8794, RFC 9559), including their length bits.
const (
	idEBML            = 0x1a45dfa3
	idEBMLVersion     = 0x4286
	idEBMLReadVersion = 0x42f7
	idEBMLMaxID       = 0x42f2
	idEBMLMaxSize     = 0x42f3
	idDocType         = 0x4282
	idDocVersion      = 0x4287
	idDocReadVersion  = 0x4285
	idSegment         = 0x18538067
	idInfo            = 0x1549a966
	idTimestampScale  = 0x2ad7b1
	idDuration        = 0x4489
	idMuxingApp       = 0x4d80
	idWritingApp      = 0x5741
	idTracks          = 0x1654ae6b
	idTrackEntry      = 0xae
	idTrackNumber     = 0xd7
	idTrackUID        = 0x73c5
	idTrackType       = 0x83
	idFlagLacing      = 0x9c
	idCodecID         = 0x86
	idCodecPrivate    = 0x63a2
	idCodecDelay      = 0x56aa
	idSeekPreRoll     = 0x56bb
	idVideo           = 0xe0
	idPixelWidth      = 0xb0
	idPixelHeight     = 0xba
	idAudio           = 0xe1
	idSamplingRate    = 0xb5
	idChannels        = 0x9f
	idCluster         = 0x1f43b675
	idTimestamp       = 0xe7
	idSimpleBlock     = 0xa3
	idVoid            = 0xec
)

const (
	// mkvUnknown is the size of an element that ends with the file.
	mkvUnknown = 0x01ffffffffffffff
	// voidSize is the content size of an empty element that is as long as the duration
	// element: the duration's id is one byte longer, and its content has eight bytes.
	voidSize = 9
	// mkvClusterSpan is the duration of a cluster. Block times are relative to it and have
	// 16 bits, in milliseconds.
	mkvClusterSpan = 5 * time.Second
	// opusSeekPreRoll is the sound that a decoder needs before a seek position (RFC 7845, section 4.6).
	opusSeekPreRoll = 80 * time.Millisecond
)

// MKVTrack describes one track.
type MKVTrack struct {
	// Codec is "V_VP8", "V_MPEG4/ISO/AVC" or "A_OPUS".
	Codec string
	// Private is the codec's private data; nil for VP8.
	Private []byte
	// Width and Height are set for video, Channels for sound.
	Width, Height, Channels int
}

// MKVWriter writes Matroska, or its subset WebM.
type MKVWriter struct {
	w         io.Writer
	tracks    []MKVTrack
	cluster   time.Duration
	inCluster bool
	last      time.Duration
	duration  int64 // offset of the duration element
}

// NewMKVWriter writes the header. docType is "matroska" or "webm".
func NewMKVWriter(w io.Writer, docType string, tracks []MKVTrack) (*MKVWriter, error) {
	head := element(idEBML,
		uintElement(idEBMLVersion, 1), uintElement(idEBMLReadVersion, 1), uintElement(idEBMLMaxID, 4), uintElement(idEBMLMaxSize, 8),
		element(idDocType, []byte(docType)), uintElement(idDocVersion, 4), uintElement(idDocReadVersion, 2))
	head = binary.BigEndian.AppendUint32(head, idSegment)
	head = binary.BigEndian.AppendUint64(head, mkvUnknown)
	// Reserve space for the duration with an empty element: a duration of zero is invalid
	// (RFC 9559, section 5.1.2.10), and in a pipe it cannot be filled in.
	info := element(idInfo,
		element(idVoid, make([]byte, voidSize)), uintElement(idTimestampScale, uint64(time.Millisecond)),
		element(idMuxingApp, []byte("secmsg")), element(idWritingApp, []byte("secmsg")))
	const infoHead = 4 + 8
	m := &MKVWriter{w: w, tracks: tracks, duration: int64(len(head)) + infoHead}
	var entries [][]byte
	for i, t := range tracks {
		entries = append(entries, t.entry(uint64(i+1)))
	}
	head = append(append(head, info...), element(idTracks, entries...)...)
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("write Matroska: %w", err)
	}
	return m, nil
}

func (t MKVTrack) entry(number uint64) []byte {
	const video, audio = 1, 2
	parts := [][]byte{
		uintElement(idTrackNumber, number), uintElement(idTrackUID, number), uintElement(idFlagLacing, 0),
		element(idCodecID, []byte(t.Codec)),
	}
	if t.Private != nil {
		parts = append(parts, element(idCodecPrivate, t.Private))
	}
	if t.Channels == 0 {
		return element(idTrackEntry, append(parts, uintElement(idTrackType, video),
			element(idVideo, uintElement(idPixelWidth, uint64(t.Width)), uintElement(idPixelHeight, uint64(t.Height))))...)
	}
	const delay = opusPreSkip * uint64(time.Second) / opusRate
	return element(idTrackEntry, append(parts, uintElement(idTrackType, audio),
		uintElement(idCodecDelay, delay), uintElement(idSeekPreRoll, uint64(opusSeekPreRoll)),
		element(idAudio, floatElement(idSamplingRate, opusRate), uintElement(idChannels, uint64(t.Channels))))...)
}

// Write appends a frame of a track, numbered from zero. Frames must be in order of time,
// within some seconds.
func (m *MKVWriter) Write(track int, frame []byte, pts time.Duration, key bool) error {
	m.last = max(m.last, pts)
	var out []byte
	if at := pts - m.cluster; !m.inCluster || at >= mkvClusterSpan || at < -mkvClusterSpan {
		m.cluster, m.inCluster = pts.Truncate(time.Millisecond), true
		out = binary.BigEndian.AppendUint32(out, idCluster)
		out = binary.BigEndian.AppendUint64(out, mkvUnknown)
		out = append(out, uintElement(idTimestamp, uint64(max(0, m.cluster.Milliseconds())))...)
	}
	flags := byte(0)
	if key {
		flags = 0x80
	}
	block := []byte{0x80 | byte(track+1)}
	block = binary.BigEndian.AppendUint16(block, uint16(int16((pts - m.cluster).Milliseconds())))
	block = append(block, flags)
	out = append(out, element(idSimpleBlock, block, frame)...)
	if _, err := m.w.Write(out); err != nil {
		return fmt.Errorf("write Matroska: %w", err)
	}
	return nil
}

// Close writes the duration into the header if the output can seek.
func (m *MKVWriter) Close() error {
	s, ok := m.w.(io.WriteSeeker)
	if !ok || m.last <= 0 {
		return nil
	}
	if _, err := s.Seek(m.duration, io.SeekStart); err != nil {
		return nil // a pipe: the duration stays unknown
	}
	if _, err := s.Write(floatElement(idDuration, float64(m.last)/float64(time.Millisecond))); err != nil {
		return fmt.Errorf("complete Matroska header: %w", err)
	}
	return nil
}

// element returns an element: id, size in eight bytes, and content.
func element(id uint32, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	b := make([]byte, 0, size+12)
	switch {
	case id > 0xffffff:
		b = append(b, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	case id > 0xffff:
		b = append(b, byte(id>>16), byte(id>>8), byte(id))
	case id > 0xff:
		b = append(b, byte(id>>8), byte(id))
	default:
		b = append(b, byte(id))
	}
	b = binary.BigEndian.AppendUint64(b, 1<<56|uint64(size))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func uintElement(id uint32, v uint64) []byte {
	return element(id, binary.BigEndian.AppendUint64(nil, v))
}

func floatElement(id uint32, v float64) []byte {
	return element(id, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
}

// AVCConfig returns Matroska's private data for H.264 (ISO/IEC 14496-15, section 5.3.3.1),
// made from the parameter sets of a key frame, or nil if one is missing.
func AVCConfig(unit []byte) []byte {
	var sps, pps []byte
	for _, nal := range H264NALs(unit) {
		switch nal[0] & 0x1f {
		case nalSPS:
			sps = nal
		case nalPPS:
			pps = nal
		}
	}
	if len(sps) < 4 || pps == nil || len(sps) > math.MaxUint16 || len(pps) > math.MaxUint16 {
		return nil
	}
	b := []byte{1, sps[1], sps[2], sps[3], 0xff, 0xe1} // lengths of 4 bytes, one SPS
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(sps))), sps...)
	b = append(b, 1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(pps))), pps...)
}

// AVCUnit converts an access unit in Annex B form to one with lengths.
func AVCUnit(unit []byte) []byte {
	var b []byte
	for _, nal := range H264NALs(unit) {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(nal))), nal...)
	}
	return b
}

// H264Size returns the picture size in an access unit's parameter set, or zero without one.
func H264Size(unit []byte) (width, height int) {
	for _, nal := range H264NALs(unit) {
		if nal[0]&0x1f == nalSPS {
			if s, err := ParseSPS(nal); err == nil {
				return s.Width, s.Height
			}
		}
	}
	return 0, 0
}
