package ratchet

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// Class tells the relay how to treat an envelope. The numbers are those of the wire protocol and never
// change.
type Class uint8

// The classes of envelopes.
const (
	ClassDurable Class = 1 // stored in a mailbox until it is acknowledged
	ClassOnline  Class = 2 // delivered at once or not at all
	ClassProbe   Class = 3 // a device's message to itself; never in a session
)

// Party is one end of a session: a device of an account.
type Party struct {
	Address identity.Address
	Device  key.DeviceID
}

// String returns "user@domain/device".
func (p Party) String() string { return p.Address.String() + "/" + p.Device.String() }

// ManifestRef names a device manifest: its version and its [identity.ManifestHash].
//
// Every message contains, inside the encrypted body, the newest manifest of the sender's account that
// the sender knows. If a server withholds a manifest, or shows another one to the peer, the next
// message that it lets through reveals that. All messages contain it, not only the first of a chain:
// the first may be lost, and a server could single it out.
type ManifestRef struct {
	Version uint64 // 1 to identity.MaxManifestVersion
	Hash    [sha256.Size]byte
}

// manifestRefSize is the length of an encoded ManifestRef in bytes.
const manifestRefSize = 8 + sha256.Size

// MessageIDSize is the length of a message id in bytes (a UUID).
const MessageIDSize = 16

// Meta is the data outside the ciphertext that is bound to it as associated data (SPEC "Session:
// associated data").
type Meta struct {
	Class     Class
	Sender    Party
	Recipient Party
	MessageID [MessageIDSize]byte
}

// check returns [ErrParty] unless m goes from one device to the other, in a class that sessions use.
func (m Meta) check(from, to Party) error {
	if m.Class != ClassDurable && m.Class != ClassOnline {
		return fmt.Errorf("class %d: %w", m.Class, ErrParty)
	}
	if m.Sender != from {
		return fmt.Errorf("sender: %w", ErrParty)
	}
	if m.Recipient != to {
		return fmt.Errorf("recipient: %w", ErrParty)
	}
	return nil
}

// associatedData binds a body to everything outside it: the metadata and all bytes of the envelope
// before the body.
func associatedData(m Meta, kind uint8, prefix []byte) []byte {
	ad := make([]byte, 0, 256+len(prefix))
	ad = append(ad, labelMessage...)
	ad = append(ad, Version, uint8(m.Class), kind)
	ad = appendParty(ad, m.Sender)
	ad = appendParty(ad, m.Recipient)
	ad = append(ad, m.MessageID[:]...)
	return append(ad, prefix...)
}

// appendParty appends the address with its 16-bit length and the device id.
func appendParty(dst []byte, p Party) []byte {
	dst = appendSized(dst, []byte(p.Address.String()))
	return append(dst, p.Device[:]...)
}

func (r ManifestRef) valid() bool { return 0 < r.Version && r.Version <= identity.MaxManifestVersion }

// frame puts the manifest in front of a content. The result is the plaintext of a body before padding.
func frame(own ManifestRef, content []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, manifestRefSize+len(content)), own.Version)
	b = append(b, own.Hash[:]...)
	return append(b, content...)
}

// unframe is the inverse of frame.
func unframe(b []byte) (ManifestRef, []byte, error) {
	r := reader{rest: b}
	ref := ManifestRef{Version: r.u64("manifest version")}
	r.copy32(&ref.Hash, "manifest hash")
	if r.err == nil && !ref.valid() {
		r.fail("manifest version")
	}
	return ref, r.rest, r.err
}
