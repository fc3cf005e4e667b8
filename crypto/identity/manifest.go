package identity

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Limits of a manifest.
const (
	// MaxDevices bounds the devices of an account.
	MaxDevices = 10
	// MaxManifestVersion bounds the version: databases store it as a signed number, and JSON readers
	// represent integers exactly only up to this one (RFC 8259, section 6).
	MaxManifestVersion = 1<<53 - 1
	// MaxManifest bounds a signed manifest in bytes.
	MaxManifest = 1 + (1 + MaxUser) + (1 + MaxDomain) + 8 + sha256.Size + 8 + 1 +
		MaxDevices*(key.SigningPublicSize+key.ExchangePublicSize+1+MaxDeviceName+8) + key.SignatureSize
)

// Ages of a manifest. A server can withhold the manifest that removes a device. Owners therefore sign
// an unchanged list again, so that peers notice a manifest that gets old.
const (
	// ManifestRenewAfter is the age at which an owner signs its manifest again.
	ManifestRenewAfter = 30 * day
	// ManifestStale is the age at which peers get a warning: two renewals are missing.
	ManifestStale = 60 * day
	// manifestSkew is how far in the future a manifest may be dated before its owner signs it again;
	// until that date its age is meaningless.
	manifestSkew = day
)

// Manifest is an account's list of its devices. Peers encrypt only to devices
// in a manifest signed by the identity key that they pinned.
type Manifest struct {
	Address  Address
	Version  uint64            // counts up from 1
	Previous [sha256.Size]byte // ManifestHash of the previous manifest; zero in version 1
	Devices  []Device          // 1 to MaxDevices, in the order of their ids
	Time     time.Time         // whole seconds; by the clock of the primary device
}

// Stale reports whether the owner should have signed the manifest again long ago.
func (m Manifest) Stale(now time.Time) bool { return StaleAt(m.Time, now) }

// StaleAt is [Manifest.Stale] for a manifest's time.
func StaleAt(signed, now time.Time) bool { return now.Sub(signed) >= ManifestStale }

// RenewalDue reports whether the owner should sign the manifest again: it is old, or a wrong clock
// dated it in the future.
func (m Manifest) RenewalDue(now time.Time) bool {
	return now.Sub(m.Time) >= ManifestRenewAfter || m.Time.Sub(now) > manifestSkew
}

// Device returns the device with an id.
func (m Manifest) Device(id key.DeviceID) (Device, bool) {
	i := slices.IndexFunc(m.Devices, func(d Device) bool { return d.ID == id })
	if i < 0 {
		return Device{}, false
	}
	return m.Devices[i], true
}

// Sign encodes the manifest and signs it with the account's identity key. It sorts the devices and cuts
// times to whole seconds. It returns [ErrFormat] for a manifest that a parser would refuse.
func (m Manifest) Sign(priv key.SigningPrivate) (signed []byte, err error) {
	m.Devices = slices.Clone(m.Devices)
	slices.SortFunc(m.Devices, compareDevices)
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	addAddress(b, m.Address)
	b.AddUint64(m.Version)
	b.AddBytes(m.Previous[:])
	addTime(b, m.Time)
	b.AddUint8(uint8(len(m.Devices)))
	for _, d := range m.Devices {
		addDevice(b, d)
	}
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	if signed, err = appendSignature(priv, labelManifest, body); err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return signed, nil
}

// UnverifiedManifest is a well-formed manifest whose signature has not been checked.
type UnverifiedManifest struct {
	m         Manifest
	body, sig []byte
}

// ParseManifest parses a signed manifest strictly. Only Verify returns its contents. It returns
// [ErrFormat].
func ParseManifest(signed []byte) (UnverifiedManifest, error) {
	body, sig, err := splitSignature(signed, MaxManifest)
	if err != nil {
		return UnverifiedManifest{}, fmt.Errorf("manifest: %w", err)
	}
	m, err := decodeManifest(body)
	if err != nil {
		return UnverifiedManifest{}, fmt.Errorf("manifest: %w", err)
	}
	return UnverifiedManifest{m: m, body: slices.Clone(body), sig: slices.Clone(sig)}, nil
}

// Claims returns the address and version that the manifest claims, which select the key that verifies
// it.
func (u UnverifiedManifest) Claims() (Address, uint64) { return u.m.Address, u.m.Version }

// Time returns the time that the manifest claims.
func (u UnverifiedManifest) Time() time.Time { return u.m.Time }

// Verify checks that the manifest belongs to addr and is signed by its pinned identity key, and returns
// it. It returns [ErrName] and [ErrSignature].
func (u UnverifiedManifest) Verify(addr Address, pinned key.SigningPublic) (Manifest, error) {
	if u.m.Address != addr {
		return Manifest{}, fmt.Errorf("manifest of %s, not %s: %w", u.m.Address, addr, ErrName)
	}
	if !pinned.Verify(signingInput(labelManifest, u.body), u.sig) {
		return Manifest{}, fmt.Errorf("manifest of %s: %w", addr, ErrSignature)
	}
	return u.m, nil
}

// VerifyManifest parses and verifies a signed manifest.
func VerifyManifest(signed []byte, addr Address, pinned key.SigningPublic) (Manifest, error) {
	u, err := ParseManifest(signed)
	if err != nil {
		return Manifest{}, err
	}
	return u.Verify(addr, pinned)
}

// ManifestHash returns the SHA-256 of a signed manifest, including the signature. The next manifest
// names it as its previous one.
func ManifestHash(signed []byte) [sha256.Size]byte { return sha256.Sum256(signed) }

// ManifestVersion returns the version in a signed manifest without looking at the rest; for a manifest
// that was verified earlier. It returns [ErrFormat].
func ManifestVersion(signed []byte) (uint64, error) {
	in := cryptobyte.String(signed)
	var (
		v    uint8
		addr Address
		n    uint64
	)
	if !in.ReadUint8(&v) || v != version || !readAddress(&in, &addr) || !in.ReadUint64(&n) || n == 0 {
		return 0, fmt.Errorf("manifest: version: %w", ErrFormat)
	}
	return n, nil
}

// CheckSuccessor decides whether next may replace the known manifest, both signed and verified under
// the same pinned key and for the same address. Versions between them may be missing. It returns nil if
// next is newer or byte for byte the known one; [ErrOlder] if it is older; and [ErrFork] if it has the
// same version with other bytes, or follows directly without naming the known one as its previous.
func CheckSuccessor(known, next []byte) error {
	k, err := ParseManifest(known)
	if err != nil {
		return fmt.Errorf("known %w", err)
	}
	n, err := ParseManifest(next)
	if err != nil {
		return fmt.Errorf("next %w", err)
	}
	was, is := k.m.Version, n.m.Version
	switch {
	case k.m.Address != n.m.Address:
		return fmt.Errorf("manifest of %s after one of %s: %w", n.m.Address, k.m.Address, ErrName)
	case is < was:
		return fmt.Errorf("manifest version %d, known is %d: %w", is, was, ErrOlder)
	case is == was && !bytes.Equal(known, next):
		return fmt.Errorf("two manifests of version %d: %w", is, ErrFork)
	case is-was == 1 && n.m.Previous != ManifestHash(known):
		return fmt.Errorf("manifest version %d does not follow the known one: %w", is, ErrFork)
	}
	return nil
}

func decodeManifest(body []byte) (Manifest, error) {
	var (
		in   = cryptobyte.String(body)
		m    Manifest
		v, n uint8
	)
	if !in.ReadUint8(&v) || v != version {
		return Manifest{}, fmt.Errorf("version: %w", ErrFormat)
	}
	if !readAddress(&in, &m.Address) || !in.ReadUint64(&m.Version) || !in.CopyBytes(m.Previous[:]) ||
		!readTime(&in, &m.Time) || !in.ReadUint8(&n) || n > MaxDevices {
		return Manifest{}, fmt.Errorf("layout: %w", ErrFormat)
	}
	m.Devices = make([]Device, 0, n)
	for range n {
		d, err := readDevice(&in)
		if err != nil {
			return Manifest{}, err
		}
		m.Devices = append(m.Devices, d)
	}
	if !in.Empty() {
		return Manifest{}, fmt.Errorf("trailing bytes: %w", ErrFormat)
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// check returns nil if the manifest is consistent. Devices must be in ascending order of their ids,
// which gives a list exactly one encoding and excludes duplicates.
func (m Manifest) check() error {
	if err := m.Address.Validate(); err != nil {
		return err
	}
	if m.Version == 0 || m.Version > MaxManifestVersion || (m.Version == 1) != (m.Previous == [sha256.Size]byte{}) {
		return fmt.Errorf("version %d and previous hash: %w", m.Version, ErrFormat)
	}
	if len(m.Devices) == 0 || len(m.Devices) > MaxDevices {
		return fmt.Errorf("%d devices: %w", len(m.Devices), ErrFormat)
	}
	for i, d := range m.Devices {
		if err := d.check(); err != nil {
			return err
		}
		if i > 0 && compareDevices(m.Devices[i-1], d) >= 0 {
			return fmt.Errorf("devices out of order: %w", ErrFormat)
		}
		for _, e := range m.Devices[:i] {
			if e.Exchange == d.Exchange || e.Signing == d.Signing {
				return fmt.Errorf("two devices with one key: %w", ErrFormat)
			}
		}
	}
	return nil
}

func compareDevices(a, b Device) int { return bytes.Compare(a.ID[:], b.ID[:]) }
