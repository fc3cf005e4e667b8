package seal

import (
	"bytes"
	"errors"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// B18: messages of 1 to 160 bytes have at most three padded sizes, here two.
func TestShortMessagesLookAlike(t *testing.T) {
	sizes := map[int]bool{}
	for n := 1; n <= 160; n++ {
		sizes[len(Pad(make([]byte, n)))] = true
	}
	if len(sizes) > 3 {
		t.Errorf("%d sizes: %v", len(sizes), sizes)
	}
	// With the bytes that a content adds to its text, up to 31.
	for extra := range 32 {
		sizes = map[int]bool{}
		for n := 1; n <= 160; n++ {
			sizes[PaddedLen(n+extra)] = true
		}
		if len(sizes) > 3 {
			t.Errorf("%d bytes around the text: %d sizes", extra, len(sizes))
		}
	}
}

// Values computed by hand from the definition in the PURBs paper, for n + 1.
func TestPaddedLen(t *testing.T) {
	for n, want := range map[int]int{
		0: 160, 1: 160, 159: 160, 160: 176, 175: 176, 176: 192, 254: 256, 255: 256, 256: 272,
		1000: 1024, 1023: 1024, 1024: 1088, 65535: 65536, 65536: 67584, 1 << 20: 1<<20 + 1<<15,
	} {
		if got := PaddedLen(n); got != want {
			t.Errorf("PaddedLen(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestPadProperties(t *testing.T) {
	last := 0
	for n := range 100_000 {
		l := PaddedLen(n)
		if l < PadFloor || l <= n || l < last {
			t.Fatalf("PaddedLen(%d) = %d after %d", n, l, last)
		}
		if n > PadFloor && float64(l-n-1) > 0.12*float64(n+1) {
			t.Fatalf("PaddedLen(%d) = %d adds more than 12 percent", n, l)
		}
		// Padme: no more significant bits than a float with a mantissa of
		// log2 log2 of the length.
		e := bits.Len(uint(l)) - 1
		if low := bits.TrailingZeros(uint(l)); l > PadFloor && low < e-bits.Len(uint(e)) {
			t.Fatalf("PaddedLen(%d) = %d has too many significant bits", n, l)
		}
		last = l
	}
}

func TestPadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0x80, 1, 0xff}), 0, 600).Draw(t, "plaintext")
		padded := Pad(p)
		got, err := Unpad(padded)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%x: %x, %v", p, got, err)
		}
		if cap(got) != len(got) {
			t.Fatal("the padding can be reached by appending")
		}
	})
}

func TestUnpadRefuses(t *testing.T) {
	good := Pad([]byte("hello"))
	for name, bad := range map[string][]byte{
		"nothing":         nil,
		"zeros":           make([]byte, PadFloor),
		"no mark":         bytes.Repeat([]byte{1}, PadFloor),
		"below the floor": good[:PadFloor-1],
		"too long":        append(bytes.Clone(good), 0),
		"next size":       append(bytes.Clone(good), make([]byte, 16)...),
		"wrong fill":      append(bytes.Clone(good[:PadFloor-1]), 1),
		"only a mark":     {padMark},
	} {
		if p, err := Unpad(bad); !errors.Is(err, ErrPadding) {
			t.Errorf("%s: %x, %v", name, p, err)
		}
	}
}

func FuzzUnpad(f *testing.F) {
	f.Add(Pad(nil))
	f.Add(Pad([]byte("hello\x80\x00")))
	f.Add(Pad(make([]byte, 500)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Unpad(b)
		if err == nil && !bytes.Equal(Pad(p), b) {
			t.Errorf("%x differs from Pad of %x", b, p)
		}
		if err != nil && !errors.Is(err, ErrPadding) {
			t.Error(err)
		}
	})
}
