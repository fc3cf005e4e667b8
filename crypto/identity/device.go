package identity

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// MaxDeviceName bounds a device's name in bytes.
const MaxDeviceName = 64

// Device is a device of an account, as listed in its manifest.
type Device struct {
	ID       key.DeviceID // derived from the keys; Sign checks it, parsing sets it
	Signing  key.SigningPublic
	Exchange key.ExchangePublic
	Name     string    // see ValidDeviceName
	Added    time.Time // whole seconds; by the clock of the approving device
}

// ValidDeviceName returns nil if s is a valid device name: 1 to 64 bytes of UTF-8, no space at either
// end, no control and no formatting characters. Otherwise it returns [ErrFormat]. So a name can be
// printed as it is, and cannot imitate another name by text direction or invisible characters.
func ValidDeviceName(s string) error {
	if len(s) == 0 || len(s) > MaxDeviceName {
		return fmt.Errorf("device name of %d bytes: %w", len(s), ErrFormat)
	}
	if !utf8.ValidString(s) || s[0] == ' ' || s[len(s)-1] == ' ' || strings.ContainsFunc(s, invisible) {
		return fmt.Errorf("device name: %w", ErrFormat)
	}
	return nil
}

// invisible reports whether r is not allowed in a name. The ranges are listed explicitly, because they
// must be the same for implementations with other versions of Unicode (SPEC "Device manifest").
func invisible(r rune) bool {
	for _, x := range [...][2]rune{
		{0x0000, 0x001f}, {0x007f, 0x00a0}, // controls, no-break space
		{0x00ad, 0x00ad}, {0x034f, 0x034f}, // soft hyphen, grapheme joiner
		{0x061c, 0x061c}, {0x115f, 0x1160}, // Arabic mark, Hangul fillers
		{0x1680, 0x1680}, {0x17b4, 0x17b5}, {0x180b, 0x180f},
		{0x2000, 0x200f}, {0x2028, 0x202f}, // spaces, joiners, separators, directions
		{0x205f, 0x206f}, {0x3000, 0x3000}, {0x3164, 0x3164},
		{0xd800, 0xf8ff}, {0xfe00, 0xfe0f}, // surrogates, private use, variants
		{0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xffff},
		{0xe0000, 0x10ffff}, // tags, private use
	} {
		if x[0] <= r && r <= x[1] {
			return true
		}
	}
	return false
}

// addDevice adds one entry of a manifest.
func addDevice(b *cryptobyte.Builder, d Device) {
	b.AddBytes(d.Signing.Bytes())
	b.AddBytes(d.Exchange.Bytes())
	addBytes8(b, []byte(d.Name))
	addTime(b, d.Added)
}

// readDevice is the inverse of addDevice. It checks the keys.
func readDevice(s *cryptobyte.String) (Device, error) {
	var (
		d                 Device
		signing, exchange []byte
	)
	if !s.ReadBytes(&signing, key.SigningPublicSize) || !s.ReadBytes(&exchange, key.ExchangePublicSize) ||
		!readString8(s, &d.Name) || !readTime(s, &d.Added) {
		return Device{}, fmt.Errorf("device: %w", ErrFormat)
	}
	var err error
	if d.Signing, err = key.ParseSigningPublic(signing); err != nil {
		return Device{}, fmt.Errorf("device: %w (%w)", ErrFormat, err)
	}
	if d.Exchange, err = key.ParseExchangePublic(exchange); err != nil {
		return Device{}, fmt.Errorf("device: %w (%w)", ErrFormat, err)
	}
	d.ID = key.NewDeviceID(d.Signing, d.Exchange)
	return d, nil
}

// check returns nil if the device may be in a manifest.
func (d Device) check() error {
	if d.Signing.IsZero() || d.Exchange.IsZero() || d.ID != key.NewDeviceID(d.Signing, d.Exchange) {
		return fmt.Errorf("device %s: keys and id: %w", d.ID, ErrFormat)
	}
	return ValidDeviceName(d.Name)
}
