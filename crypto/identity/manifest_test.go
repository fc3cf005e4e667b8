package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func newManifest(devices int) Manifest {
	m := Manifest{Address: alice, Version: 1, Time: now}
	for range devices {
		d, _ := newDevice("laptop")
		m.Devices = append(m.Devices, d)
	}
	slices.SortFunc(m.Devices, compareDevices)
	return m
}

func TestManifest(t *testing.T) {
	priv := key.GenerateSigning()
	for n := 1; n <= MaxDevices; n++ {
		m := newManifest(n)
		m.Devices[0].Name = strings.Repeat("ä", MaxDeviceName/2)
		signed, err := m.Sign(priv)
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyManifest(signed, alice, priv.Public())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%d devices: %+v, %v", n, got, err)
		}
		slices.Reverse(m.Devices)
		if again := must[[]byte](t)(m.Sign(priv)); !bytes.Equal(again, signed) {
			t.Error("the order of the devices changes the manifest")
		}
		if d, ok := got.Device(m.Devices[0].ID); !ok || d != m.Devices[0] {
			t.Error("a device is not found")
		}
		if _, ok := got.Device(key.DeviceID{}); ok {
			t.Error("no device is found")
		}
		if _, err := VerifyManifest(signed, bob, priv.Public()); !errors.Is(err, ErrName) {
			t.Errorf("other account: %v", err)
		}
		if _, err := VerifyManifest(signed, alice, key.GenerateSigning().Public()); !errors.Is(err, ErrSignature) {
			t.Errorf("other key: %v", err)
		}
		if _, err := VerifyManifest(signed, alice, key.SigningPublic{}); !errors.Is(err, ErrSignature) {
			t.Errorf("no key: %v", err)
		}
	}
	largest := newManifest(MaxDevices)
	largest.Address = Address{User: strings.Repeat("a", MaxUser), Domain: strings.Repeat("a2345678.", 28) + "b"}
	for i := range largest.Devices {
		largest.Devices[i].Name = strings.Repeat("n", MaxDeviceName)
	}
	if signed, err := largest.Sign(priv); err != nil || len(signed) != MaxManifest {
		t.Errorf("the largest manifest has %d bytes, MaxManifest is %d: %v", len(signed), MaxManifest, err)
	}
}

// Every byte is covered by the signature or refused before the check.
func TestManifestChanged(t *testing.T) {
	priv := key.GenerateSigning()
	signed := must[[]byte](t)(newManifest(2).Sign(priv))
	flips(signed, func(i int, bad []byte) {
		if _, err := VerifyManifest(bad, alice, priv.Public()); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrName) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	})
	for i := range signed {
		if _, err := ParseManifest(signed[:i]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := ParseManifest(append(bytes.Clone(signed), 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("trailing byte: %v", err)
	}
	if _, err := ParseManifest(make([]byte, 1<<20)); !errors.Is(err, ErrFormat) {
		t.Errorf("too large: %v", err)
	}
}

// A manifest that cannot be parsed cannot be signed either, and vice versa.
func TestManifestRefused(t *testing.T) {
	priv := key.GenerateSigning()
	for name, change := range map[string]func(m *Manifest){
		"no devices":         func(m *Manifest) { m.Devices = nil },
		"too many devices":   func(m *Manifest) { m.Devices = newManifest(MaxDevices + 1).Devices },
		"one twice":          func(m *Manifest) { m.Devices = append(m.Devices, m.Devices[0]) },
		"one key twice":      func(m *Manifest) { m.Devices[1].Exchange = m.Devices[0].Exchange },
		"version 0":          func(m *Manifest) { m.Version = 0 },
		"no previous":        func(m *Manifest) { m.Version = 2 },
		"previous too early": func(m *Manifest) { m.Previous[0] = 1 },
		"no address":         func(m *Manifest) { m.Address = Address{} },
		"other id":           func(m *Manifest) { m.Devices[0].ID[0] ^= 1 },
		"no signing key":     func(m *Manifest) { m.Devices[0].Signing = key.SigningPublic{} },
		"no exchange key":    func(m *Manifest) { m.Devices[0].Exchange = key.ExchangePublic{} },
		"no name":            func(m *Manifest) { m.Devices[0].Name = "" },
		"long name":          func(m *Manifest) { m.Devices[0].Name = strings.Repeat("n", MaxDeviceName+1) },
		"before 1970":        func(m *Manifest) { m.Time = now.AddDate(-100, 0, 0) },
		"year 10000":         func(m *Manifest) { m.Devices[0].Added = now.AddDate(9000, 0, 0) },
	} {
		m := newManifest(2)
		change(&m)
		if _, err := m.Sign(priv); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: signed: %v", name, err)
		}
	}
	if _, err := newManifest(1).Sign(key.SigningPrivate{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("signed without key: %v", err)
	}

	// Bytes that Sign would not produce, with a valid signature.
	forge := func(change func(body []byte) []byte) []byte {
		signed := must[[]byte](t)(newManifest(2).Sign(priv))
		body := change(signed[: len(signed)-key.SignatureSize : len(signed)-key.SignatureSize])
		return must[[]byte](t)(appendSignature(priv, labelManifest, body))
	}
	entry := key.SigningPublicSize + key.ExchangePublicSize + 1 + len("laptop") + 8
	for name, change := range map[string]func(b []byte) []byte{
		"other version": func(b []byte) []byte { b[0]++; return b },
		"trailing":      func(b []byte) []byte { return append(b, 0) },
		"swapped devices": func(b []byte) []byte {
			n := len(b)
			return slices.Concat(b[:n-2*entry], b[n-entry:], b[n-2*entry:n-entry])
		},
		"device twice": func(b []byte) []byte {
			n := len(b)
			return slices.Concat(b[:n-entry], b[n-2*entry:n-entry])
		},
		"more devices than there are": func(b []byte) []byte { b[len(b)-2*entry-1] = 10; return b },
		"a count of 255":              func(b []byte) []byte { b[len(b)-2*entry-1] = 255; return b },
		"time too late":               func(b []byte) []byte { binary.BigEndian.PutUint64(b[len(b)-8:], maxUnix+1); return b },
		"key of small order": func(b []byte) []byte {
			clear(b[len(b)-entry : len(b)-entry+32])
			return b
		},
		"exchange key zero": func(b []byte) []byte {
			clear(b[len(b)-entry+32 : len(b)-entry+64])
			return b
		},
		"control character": func(b []byte) []byte { b[len(b)-9] = '\n'; return b },
	} {
		if _, err := VerifyManifest(forge(change), alice, priv.Public()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := VerifyManifest(forge(func(b []byte) []byte { return b }), alice, priv.Public()); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestDeviceNames(t *testing.T) {
	for _, good := range []string{"laptop", "Büro-PC", "a b", "电脑", "😀", strings.Repeat("n", 64), "--force"} {
		if err := ValidDeviceName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", " a", "a ", "a\nb", "a\x1b[31m", "a\x00", "a\x7f", "a\u0085", "a\u00a0", "a\u202eb", "a\u200bb", "\u2066a",
		"\ufeffa", "a\u2028", "a\xff", "\xed\xa0\x80", "\U000e0041", "\ue000", "\u00ad", "\ufffd\xff", "\ufffd", strings.Repeat("n", 65)} {
		if err := ValidDeviceName(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSuccessor(t *testing.T) {
	priv := key.GenerateSigning()
	sign := func(m Manifest) []byte { return must[[]byte](t)(m.Sign(priv)) }
	one := newManifest(1)
	v1 := sign(one)
	next := func(version uint64, previous [sha256.Size]byte) []byte {
		m := one
		m.Version, m.Previous = version, previous
		return sign(m)
	}
	v2 := next(2, ManifestHash(v1))
	v3 := next(3, ManifestHash(v2))
	other := one
	other.Time = now.Add(day)
	foreign := one
	foreign.Address = bob
	tooFar := one
	tooFar.Version, tooFar.Previous = MaxManifestVersion+1, [32]byte{1}
	if _, err := tooFar.Sign(priv); !errors.Is(err, ErrFormat) {
		t.Errorf("a version of 2^53: %v", err)
	}
	for name, tt := range map[string]struct {
		known, next []byte
		want        error
	}{
		"the same":          {v1, v1, nil},
		"the next":          {v1, v2, nil},
		"a gap":             {v1, v3, nil},
		"a gap, any link":   {v1, next(7, [32]byte{9}), nil},
		"older":             {v2, v1, ErrOlder},
		"much older":        {v3, v1, ErrOlder},
		"two first ones":    {v1, sign(other), ErrFork},
		"broken link":       {v1, next(2, [32]byte{9}), ErrFork},
		"link skips one":    {v2, next(3, ManifestHash(v1)), ErrFork},
		"other account":     {v1, sign(foreign), ErrName},
		"known malformed":   {v1[1:], v2, ErrFormat},
		"next malformed":    {v1, v2[1:], ErrFormat},
		"last one, older":   {next(MaxManifestVersion, [32]byte{1}), v1, ErrOlder},
		"last one, reached": {v1, next(MaxManifestVersion, [32]byte{1}), nil},
	} {
		if err := CheckSuccessor(tt.known, tt.next); !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	priv := key.GenerateSigning()
	for _, n := range []int{1, 2, MaxDevices} {
		signed, err := newManifest(n).Sign(priv)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseManifest(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		again, err := u.m.Sign(priv)
		if err != nil || !bytes.Equal(again[:len(again)-key.SignatureSize], b[:len(b)-key.SignatureSize]) {
			t.Errorf("%x is encoded again as %x: %v", b, again, err)
		}
		if err := CheckSuccessor(b, b); err != nil {
			t.Error(err)
		}
	})
}

// A device id stands for both keys of a device: a manifest cannot list a known id with another exchange
// key; that would be another device. So nobody has to remember the keys of removed devices.
func TestDeviceIDNeverChangesItsKeys(t *testing.T) {
	priv := key.GenerateSigning()
	m := newManifest(1)
	was := m.Devices[0]
	changed := was
	changed.Exchange = key.GenerateExchange().Public()
	m.Devices = []Device{changed}
	if _, err := m.Sign(priv); !errors.Is(err, ErrFormat) {
		t.Errorf("a known id with another exchange key: %v", err)
	}
	changed.ID = key.NewDeviceID(changed.Signing, changed.Exchange)
	m.Devices = []Device{changed}
	signed := must[[]byte](t)(m.Sign(priv))
	got := must[Manifest](t)(VerifyManifest(signed, m.Address, priv.Public()))
	if _, ok := got.Device(was.ID); ok || got.Devices[0].ID == was.ID {
		t.Error("a device with another exchange key has the same id")
	}
	// A signature of one device does not verify for another, although they share a key.
	dev := key.GenerateSigning()
	p := must[Prekey](t)(SignPrekey(dev, was.ID, m.Address, Prekey{Kind: SignedExchange, ID: 1, Exchange: changed.Exchange, Expires: now}))
	if err := p.Verify(dev.Public(), changed.ID, m.Address, now); !errors.Is(err, ErrSignature) {
		t.Errorf("a prekey of the other device: %v", err)
	}
}

// Owners sign their manifest again after 30 days, or when a wrong clock has dated it in the future;
// peers get a warning after 60.
func TestManifestAges(t *testing.T) {
	for _, tt := range []struct {
		age        time.Duration
		due, stale bool
	}{
		{0, false, false}, {ManifestRenewAfter - time.Second, false, false}, {ManifestRenewAfter, true, false},
		{ManifestStale - time.Second, true, false}, {ManifestStale, true, true},
		{-time.Hour, false, false}, {-25 * time.Hour, true, false},
	} {
		m := Manifest{Time: now.Add(-tt.age)}
		if m.RenewalDue(now) != tt.due || m.Stale(now) != tt.stale {
			t.Errorf("%s old: due %v, stale %v", tt.age, m.RenewalDue(now), m.Stale(now))
		}
	}
}

func TestManifestVersionOfStored(t *testing.T) {
	signed := must[[]byte](t)(newManifest(1).Sign(key.GenerateSigning()))
	if v, err := ManifestVersion(signed); err != nil || v != 1 {
		t.Errorf("version %d, %v", v, err)
	}
	for i := range 20 {
		if _, err := ManifestVersion(signed[:i]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}
