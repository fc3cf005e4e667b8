package container

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Constants of Ogg pages (RFC 3533, section 6) and of Opus in Ogg (RFC 7845).
const (
	oggHeaderSize = 27
	oggMaxLacing  = 255
	oggContinued  = 1
	oggFirst      = 2
	oggLast       = 4
	// opusPreSkip is the number of samples that a decoder drops at the start: libopus looks ahead 6.5 ms, at 48
	// kHz.
	opusPreSkip = 312
	// opusRate is the rate of granule positions in Hz.
	opusRate = 48000
	// oggPageSpan is the maximum duration of a written page.
	oggPageSpan = 200 * time.Millisecond
	// oggMaxPacket bounds a packet: 120 ms at the highest rate have 61,298 bytes (RFC 7845,
	// section 6); tags may be longer.
	oggMaxPacket = 1 << 20
)

// OggReader reads the Opus packets of an Ogg stream, and of the streams chained to it (RFC
// 3533, section 4).
type OggReader struct {
	r      io.Reader
	serial uint32
	queue  [][]byte
	part   []byte // a packet that continues in the next page
	ended  bool
	// Channels is 1 or 2.
	Channels int
}

// NewOggReader reads both headers. It fails with [ErrFormat] if the first logical stream is
// not Opus with one or two channels.
func NewOggReader(r io.Reader) (*OggReader, error) {
	o := &OggReader{r: r}
	if err := o.link(); err != nil {
		if err == io.EOF {
			return nil, fmt.Errorf("the Ogg stream is empty: %w", ErrFormat)
		}
		return nil, err
	}
	return o, nil
}

// link reads the headers of a logical stream, or returns io.EOF if there is no further one.
func (o *OggReader) link() error {
	o.queue, o.part, o.ended = nil, nil, false
	head, err := o.packet(true)
	if err == io.EOF {
		return err
	}
	if err != nil {
		return fmt.Errorf("read Ogg header (%w): %w", noEOF(err), ErrFormat)
	}
	if len(head) < 19 || string(head[:8]) != "OpusHead" || head[8]>>4 != 0 || head[18] != 0 || head[9] < 1 || head[9] > 2 {
		return fmt.Errorf("not an Ogg file with Opus of one or two channels: %w", ErrFormat)
	}
	o.Channels = int(head[9])
	tags, err := o.packet(false)
	if err != nil {
		return fmt.Errorf("read Ogg tags (%w): %w", noEOF(err), ErrFormat)
	}
	if !bytes.HasPrefix(tags, []byte("OpusTags")) {
		return fmt.Errorf("no tags in an Ogg file: %w", ErrFormat)
	}
	return nil
}

// Next returns an Opus packet and its duration, or io.EOF at the end of the last chained
// stream.
func (o *OggReader) Next() ([]byte, time.Duration, error) {
	for {
		p, err := o.packet(false)
		if err == io.EOF && o.ended {
			if err = o.link(); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, 0, err
		}
		if d := OpusSpan(p); d > 0 {
			return p, d, nil
		}
	}
}

func (o *OggReader) packet(first bool) ([]byte, error) {
	for len(o.queue) == 0 {
		if o.ended {
			return nil, io.EOF
		}
		if err := o.page(first); err != nil {
			return nil, err
		}
	}
	p := o.queue[0]
	o.queue = o.queue[1:]
	return p, nil
}

// page reads one page and queues the packets that end in it. It skips pages of other
// logical streams.
func (o *OggReader) page(first bool) error {
	var h [oggHeaderSize + oggMaxLacing]byte
	if _, err := io.ReadFull(o.r, h[:oggHeaderSize]); err != nil {
		if err == io.EOF && len(o.part) == 0 || o.padding(first, h[:]) {
			return io.EOF
		}
		return fmt.Errorf("read Ogg page: %w", noEOF(err))
	}
	if string(h[:4]) != "OggS" || h[4] != 0 {
		if o.padding(first, h[:]) {
			return io.EOF
		}
		return fmt.Errorf("not an Ogg page: %w", ErrFormat)
	}
	lacing := h[oggHeaderSize : oggHeaderSize+int(h[26])]
	if _, err := io.ReadFull(o.r, lacing); err != nil {
		return fmt.Errorf("read Ogg page: %w", noEOF(err))
	}
	size := 0
	for _, l := range lacing {
		size += int(l)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(o.r, body); err != nil {
		return fmt.Errorf("read Ogg page: %w", noEOF(err))
	}
	sum := binary.LittleEndian.Uint32(h[22:])
	clear(h[22:26])
	if sum != oggCRC(h[:oggHeaderSize+len(lacing)], body) {
		return fmt.Errorf("checksum of an Ogg page: %w", ErrFormat)
	}
	serial := binary.LittleEndian.Uint32(h[14:])
	if first {
		if h[5]&oggFirst == 0 {
			return nil // the rest of another stream, multiplexed with the previous one
		}
		o.serial = serial
	} else if serial != o.serial {
		return nil
	}
	o.ended = h[5]&oggLast != 0
	if h[5]&oggContinued == 0 {
		o.part = nil
	}
	for _, l := range lacing {
		o.part = append(o.part, body[:l]...)
		body = body[l:]
		if len(o.part) > oggMaxPacket {
			return fmt.Errorf("packet in an Ogg file is too large: %w", ErrFormat)
		}
		if l < oggMaxLacing {
			o.queue = append(o.queue, o.part)
			o.part = nil
		}
	}
	return nil
}

// padding reports whether the bytes in place of a header are padding after the end of a
// stream, and not a chained stream.
func (o *OggReader) padding(first bool, h []byte) bool {
	return first && o.Channels > 0 && string(h[:4]) != "OggS"
}

// OggWriter writes Opus packets as an Ogg stream.
type OggWriter struct {
	w        io.Writer
	serial   uint32
	sequence uint32
	granule  uint64
	page     [][]byte
	span     time.Duration
	begun    bool
	channels int
}

// NewOggWriter returns a writer for packets with one or two channels.
func NewOggWriter(w io.Writer, channels int) *OggWriter {
	var serial [4]byte
	rand.Read(serial[:]) // never fails (crypto/rand, since Go 1.24)
	return &OggWriter{w: w, serial: binary.LittleEndian.Uint32(serial[:]), channels: channels}
}

// Write appends a packet. It fails with [ErrFormat] if it is not an Opus packet.
func (o *OggWriter) Write(packet []byte) error {
	d := OpusSpan(packet)
	if d == 0 {
		return fmt.Errorf("write Ogg: not an Opus packet: %w", ErrFormat)
	}
	if !o.begun {
		o.begun = true
		if err := o.headers(); err != nil {
			return err
		}
	}
	lacing := len(packet)/oggMaxLacing + 1
	for _, p := range o.page {
		lacing += len(p)/oggMaxLacing + 1
	}
	if o.span+d > oggPageSpan || lacing > oggMaxLacing {
		if err := o.flush(0); err != nil {
			return err
		}
	}
	o.page = append(o.page, bytes.Clone(packet))
	o.span += d
	return nil
}

// Close writes pending data and the end of the stream. It does not close the output.
func (o *OggWriter) Close() error {
	if !o.begun {
		if err := o.headers(); err != nil {
			return err
		}
	}
	return o.flush(oggLast)
}

func (o *OggWriter) headers() error {
	o.page = [][]byte{OpusHead(o.channels)}
	if err := o.flush(oggFirst); err != nil {
		return err
	}
	vendor := "secmsg"
	tags := binary.LittleEndian.AppendUint32([]byte("OpusTags"), uint32(len(vendor)))
	tags = append(tags, vendor...)
	o.page = [][]byte{binary.LittleEndian.AppendUint32(tags, 0)}
	return o.flush(0)
}

// OpusHead returns the identification header (RFC 7845, section 5.1), which is also
// Matroska's private data for Opus.
func OpusHead(channels int) []byte {
	b := append([]byte("OpusHead"), 1, byte(channels))
	b = binary.LittleEndian.AppendUint16(b, opusPreSkip)
	b = binary.LittleEndian.AppendUint32(b, opusRate)
	return append(b, 0, 0, 0) // no gain, mapping family 0
}

func (o *OggWriter) flush(flags byte) error {
	o.granule += uint64(o.span * opusRate / time.Second)
	var lacing, body []byte
	for _, p := range o.page {
		for n := len(p); ; n -= oggMaxLacing {
			lacing = append(lacing, byte(min(n, oggMaxLacing)))
			if n < oggMaxLacing {
				break
			}
		}
		body = append(body, p...)
	}
	h := append([]byte("OggS"), 0, flags)
	h = binary.LittleEndian.AppendUint64(h, o.granule)
	h = binary.LittleEndian.AppendUint32(h, o.serial)
	h = binary.LittleEndian.AppendUint32(h, o.sequence)
	h = append(h, 0, 0, 0, 0, byte(len(lacing)))
	h = append(h, lacing...)
	binary.LittleEndian.PutUint32(h[22:], oggCRC(h, body))
	o.sequence++
	o.page, o.span = nil, 0
	if _, err := o.w.Write(append(h, body...)); err != nil {
		return fmt.Errorf("write Ogg: %w", err)
	}
	return nil
}

// oggPolynomial is the polynomial of a page's checksum (RFC 3533, section 6).
const oggPolynomial = 0x04c11db7

// oggTable is the table for checksums, byte by byte; hash/crc32 supports only reflected
// ones.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		crc := uint32(i) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ oggPolynomial
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()

// oggCRC returns the checksum of a page: not reflected, not inverted.
func oggCRC(parts ...[]byte) uint32 {
	var crc uint32
	for _, p := range parts {
		for _, c := range p {
			crc = crc<<8 ^ oggTable[byte(crc>>24)^c]
		}
	}
	return crc
}

// OpusSpan returns the duration of an Opus packet (RFC 6716, section 3.1), or zero if it is
// not one.
func OpusSpan(p []byte) time.Duration {
	if len(p) == 0 {
		return 0
	}
	config := p[0] >> 3
	var frame time.Duration
	switch {
	case config < 12:
		frame = []time.Duration{10, 20, 40, 60}[config%4] * time.Millisecond
	case config < 16:
		frame = []time.Duration{10, 20}[config%2] * time.Millisecond
	default:
		frame = 2500 * time.Microsecond << (config % 4)
	}
	n := time.Duration(1)
	switch p[0] & 3 {
	case 1, 2:
		n = 2
	case 3:
		if len(p) < 2 {
			return 0
		}
		n = time.Duration(p[1] & 0x3f)
	}
	const longest = 120 * time.Millisecond
	if d := n * frame; d <= longest {
		return d
	}
	return 0
}

// OpusStereo reports whether a packet has two channels.
func OpusStereo(p []byte) bool { return len(p) > 0 && p[0]&4 != 0 }
