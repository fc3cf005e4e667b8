package key

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
)

// DeviceIDSize is the length of a device id in bytes: 128 bits of a SHA-256, so a second preimage is
// infeasible. Two key pairs of one owner with the same id take 2^64 hashes and gain nothing: only that
// owner can list them, and a manifest has no duplicate ids.
const DeviceIDSize = 16

// DeviceIDTextSize is the length of a device id as text.
const DeviceIDTextSize = 26

// deviceIDAlphabet is RFC 4648 base32 in lower case, because ids are used in paths and on command
// lines.
const deviceIDAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// DeviceID names a device: the first 16 bytes of SHA-256 over its Ed25519 signing key and its X25519
// exchange key (SPEC "Keys and encodings"). A device with other keys is another device, so nobody has
// to remember which keys belong to an id. It is comparable; the zero value names no device.
type DeviceID [DeviceIDSize]byte

// DeviceIDFromBytes returns b as a device id, or [ErrLength] unless b has 16 bytes.
func DeviceIDFromBytes(b []byte) (DeviceID, error) {
	if len(b) != DeviceIDSize {
		return DeviceID{}, fmt.Errorf("device id of %d bytes: %w", len(b), ErrLength)
	}
	return DeviceID(b), nil
}

// ParseDeviceID parses the text form, 26 characters of lower-case base32 without padding. It refuses
// every text that String would not produce.
func ParseDeviceID(s string) (DeviceID, error) {
	if len(s) != DeviceIDTextSize {
		return DeviceID{}, fmt.Errorf("device id of %d characters: %w", len(s), ErrLength)
	}
	b, err := deviceIDEncoding().DecodeString(s)
	if err != nil {
		return DeviceID{}, fmt.Errorf("device id: %w", ErrEncoding)
	}
	id, err := DeviceIDFromBytes(b)
	if err != nil {
		return DeviceID{}, err
	}
	if id.String() != s {
		return DeviceID{}, fmt.Errorf("device id: %w", ErrEncoding)
	}
	return id, nil
}

// String returns the text form of the id.
func (d DeviceID) String() string { return deviceIDEncoding().EncodeToString(d[:]) }

// IsZero reports whether d names no device.
func (d DeviceID) IsZero() bool { return d == DeviceID{} }

// MarshalText returns the text form of the id.
func (d DeviceID) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses the text form of an id, as [ParseDeviceID] does.
func (d *DeviceID) UnmarshalText(text []byte) error {
	id, err := ParseDeviceID(string(text))
	if err != nil {
		return err
	}
	*d = id
	return nil
}

// NewDeviceID returns the id of the device with these keys, or the zero id if a key is missing.
func NewDeviceID(signing SigningPublic, exchange ExchangePublic) DeviceID {
	if signing.IsZero() || exchange.IsZero() {
		return DeviceID{}
	}
	sum := sha256.Sum256(append(signing.Bytes(), exchange.Bytes()...))
	return DeviceID(sum[:DeviceIDSize])
}

func deviceIDEncoding() *base32.Encoding {
	return base32.NewEncoding(deviceIDAlphabet).WithPadding(base32.NoPadding)
}
