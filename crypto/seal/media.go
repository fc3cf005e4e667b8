package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/key"
)

// labelMedia begins the info of every media key (SPEC "Calls").
const labelMedia = "secmsg v1 call media"

// Sizes of sealed media in bytes (SPEC "Calls").
const (
	// MediaSecretSize is the length of the secrets in offer and answer.
	MediaSecretSize = 32
	// MediaIDSize is the length of call ids and device ids.
	MediaIDSize = 16
	// MediaHeaderSize is the length of the authenticated part of the RTP header: marker and payload
	// type, sequence number, timestamp, SSRC.
	MediaHeaderSize = 11
	// MediaOverhead is the most that [MediaSealer.Seal] adds: the config byte and eight counter bytes
	// of an SFrame header (RFC 9605, section 4.3), and the tag.
	MediaOverhead = 1 + 8 + TagSize
	// MediaMaxPayload bounds an input of Open: no datagram is larger.
	MediaMaxPayload = 65535
	// MediaWindow is how far a packet may be behind the newest counter of an SSRC: two seconds of 4
	// Mbit/s, so that a retransmission still opens.
	MediaWindow = 1024
	// mediaMaxSSRCs bounds the keys that one call derives in each direction.
	mediaMaxSSRCs = 16
)

// Errors of sealed media that callers count separately.
var (
	// ErrReplay means that a packet was opened before, or is too old to tell.
	ErrReplay = errors.New("media packet was seen before or is too old")
	// ErrSSRC means that an SSRC was used before in this direction, or that a call has too many SSRCs.
	ErrSSRC = errors.New("media SSRC cannot be used")
)

// MediaDirection is the direction of media. It is also the SFrame KID.
type MediaDirection uint8

// The two directions (SPEC "Calls").
const (
	// MediaFromCaller is the direction of media sent by the caller's device.
	MediaFromCaller MediaDirection = 0
	// MediaFromCallee is the direction of media sent by the callee's device.
	MediaFromCallee MediaDirection = 1
)

// MediaSecrets are the inputs of all media keys of one call.
type MediaSecrets struct {
	// Call names the call; Caller and Callee are the ids of the two devices.
	Call, Caller, Callee [MediaIDSize]byte
	// Offer and Answer are the random secrets of the two signals.
	Offer, Answer [MediaSecretSize]byte
}

// MediaKeys derives the keys of one call and ensures that no two sealers use the same key. It is safe
// for concurrent use.
type MediaKeys struct {
	key.Redacted

	mu     sync.Mutex
	s      key.Hidden[MediaSecrets] // guarded by mu
	sealed map[mediaStream]bool     // guarded by mu
	opened map[mediaStream]bool     // guarded by mu
}

type mediaStream struct {
	direction MediaDirection
	ssrc      uint32
}

// NewMediaKeys copies the secrets of a call; the caller clears its own copy.
func NewMediaKeys(s MediaSecrets) *MediaKeys {
	return &MediaKeys{s: key.Hide(&s), sealed: map[mediaStream]bool{}, opened: map[mediaStream]bool{}}
}

// Wipe overwrites the secrets; nothing can be derived afterwards. Existing sealers and openers keep
// their keys.
func (k *MediaKeys) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.s.Get(); s != nil {
		*s = MediaSecrets{}
	}
	k.s.Drop()
}

// Sealer returns the sealer for the packets of one SSRC. It returns [ErrSSRC] if one was created
// before: a second counter from zero under the same key would repeat nonces.
func (k *MediaKeys) Sealer(d MediaDirection, ssrc uint32) (*MediaSealer, error) {
	c, err := k.cipher(d, ssrc, k.sealed)
	if err != nil {
		return nil, fmt.Errorf("media sealer: %w", err)
	}
	return &MediaSealer{c: c}, nil
}

// Opener returns the opener for the packets of one SSRC. It returns [ErrSSRC] if one was created
// before: a second window would allow replays.
func (k *MediaKeys) Opener(d MediaDirection, ssrc uint32) (*MediaOpener, error) {
	c, err := k.cipher(d, ssrc, k.opened)
	if err != nil {
		return nil, fmt.Errorf("media opener: %w", err)
	}
	return &MediaOpener{c: c}, nil
}

func (k *MediaKeys) cipher(d MediaDirection, ssrc uint32, used map[mediaStream]bool) (*mediaCipher, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.s.Get()
	stream := mediaStream{d, ssrc}
	switch {
	case s == nil:
		return nil, fmt.Errorf("wiped secrets: %w", ErrFormat)
	case d > MediaFromCallee:
		return nil, fmt.Errorf("direction %d: %w", d, ErrFormat)
	case used[stream], len(used) >= mediaMaxSSRCs:
		return nil, ErrSSRC
	}
	used[stream] = true
	secret := append(append(make([]byte, 0, 2*MediaSecretSize), s.Offer[:]...), s.Answer[:]...)
	defer clear(secret)
	info := append([]byte(labelMedia), s.Call[:]...)
	info = append(info, s.Caller[:]...)
	info = append(info, s.Callee[:]...)
	info = append(info, byte(d))
	info = binary.BigEndian.AppendUint32(info, ssrc)
	okm, err := hkdf.Key(sha512.New, secret, nil, string(info), chacha20poly1305.KeySize+chacha20poly1305.NonceSize)
	if err != nil {
		return nil, err
	}
	defer clear(okm)
	aead, err := chacha20poly1305.New(okm[:chacha20poly1305.KeySize])
	if err != nil {
		return nil, err
	}
	c := &mediaCipher{aead: aead, kid: byte(d)}
	copy(c.salt[:], okm[chacha20poly1305.KeySize:])
	return c, nil
}

// mediaCipher is the key of one direction and SSRC.
type mediaCipher struct {
	aead cipher.AEAD
	salt [chacha20poly1305.NonceSize]byte
	kid  byte // at most 7, so that it fits into the config byte
}

// nonce returns the salt with the counter mixed into its end (RFC 9605, section 4.4.3).
func (c *mediaCipher) nonce(counter uint64) []byte {
	n := c.salt
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], counter)
	for i, x := range b {
		n[len(n)-len(b)+i] ^= x
	}
	return n[:]
}

// MediaSealer seals the packets of one SSRC under a counter that starts at zero and never goes back. It
// belongs to one goroutine.
type MediaSealer struct {
	c    *mediaCipher
	next uint64
}

// Seal appends the SFrame header and the sealed payload to dst. rtp is the part of the RTP header as on
// the wire; it must have [MediaHeaderSize] bytes, otherwise Seal returns [ErrFormat].
func (s *MediaSealer) Seal(dst, rtp, payload []byte) ([]byte, error) {
	if len(rtp) != MediaHeaderSize || len(payload) > MediaMaxPayload-MediaOverhead {
		return nil, fmt.Errorf("seal media of %d bytes: %w", len(payload), ErrFormat)
	}
	counter := s.next
	if counter == math.MaxUint64 {
		return nil, fmt.Errorf("seal media: counter is used up: %w", ErrFormat)
	}
	s.next++
	start := len(dst)
	dst = appendSFrameHeader(dst, s.c.kid, counter)
	ad := append(append(make([]byte, 0, 9+MediaHeaderSize), dst[start:]...), rtp...)
	return s.c.aead.Seal(dst, s.c.nonce(counter), payload, ad), nil
}

// MediaOpener opens the packets of one SSRC, each only once. It belongs to one goroutine.
type MediaOpener struct {
	c      *mediaCipher
	newest uint64 // one more than the highest counter that opened
	seen   [MediaWindow / 64]uint64
}

// Open authenticates and decrypts the output of [MediaSealer.Seal] and returns the payload. It returns
// [ErrFormat], [ErrOpen] and [ErrReplay]; a packet that fails changes nothing.
func (o *MediaOpener) Open(rtp, sealed []byte) ([]byte, error) {
	if len(rtp) != MediaHeaderSize || len(sealed) > MediaMaxPayload {
		return nil, fmt.Errorf("open media of %d bytes: %w", len(sealed), ErrFormat)
	}
	counter, n, err := parseSFrameHeader(sealed, o.c.kid)
	if err != nil {
		return nil, err
	}
	if counter == math.MaxUint64 { // no sealer gets this far, and the window could not move past it
		return nil, fmt.Errorf("open media: counter is used up: %w", ErrFormat)
	}
	if o.old(counter) {
		return nil, fmt.Errorf("open media: %w", ErrReplay)
	}
	ad := append(append(make([]byte, 0, 9+MediaHeaderSize), sealed[:n]...), rtp...)
	payload, err := o.c.aead.Open(nil, o.c.nonce(counter), sealed[n:], ad)
	if err != nil {
		return nil, fmt.Errorf("open media: %w", ErrOpen)
	}
	o.mark(counter)
	return payload, nil
}

// old reports whether a counter was opened or has left the window.
func (o *MediaOpener) old(counter uint64) bool {
	switch {
	case counter >= o.newest:
		return false
	case o.newest-counter > MediaWindow:
		return true
	}
	return o.seen[counter/64%uint64(len(o.seen))]&(1<<(counter%64)) != 0
}

// mark records the counter of an opened packet, and drops counters that leave the window.
func (o *MediaOpener) mark(counter uint64) {
	if counter >= o.newest {
		if counter-o.newest >= MediaWindow {
			o.seen = [MediaWindow / 64]uint64{}
		} else {
			for c := o.newest; c <= counter; c++ {
				o.seen[c/64%uint64(len(o.seen))] &^= 1 << (c % 64)
			}
		}
		o.newest = counter + 1
	}
	o.seen[counter/64%uint64(len(o.seen))] |= 1 << (counter % 64)
}
