package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"

	"secmsg/crypto/key"
)

func newTestCipher(t testing.TB, k FileKey) *FileCipher {
	t.Helper()
	c, err := NewFileCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// testPlain returns n bytes that differ from chunk to chunk.
func testPlain(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*3 ^ byte(i>>16)*5
	}
	return b
}

// sealFile seals a whole file part by part.
func sealFile(t testing.TB, c *FileCipher, plain []byte) []byte {
	t.Helper()
	sealed := make([]byte, 0, FileHeaderSize+len(plain)+(len(plain)/FileChunkSize+1)*TagSize)
	for number := 1; ; number++ {
		n := min(len(plain), FilePartPlain)
		last := n == len(plain)
		var err error
		if sealed, err = c.SealPart(sealed, plain[:n], number, last); err != nil {
			t.Fatal(err)
		}
		if plain = plain[n:]; last {
			return sealed
		}
	}
}

// openFile opens a sealed file like a receiver: the length determines the parts.
func openFile(c *FileCipher, sealed []byte) ([]byte, error) {
	parts, err := FileParts(int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	plain := make([]byte, 0, len(sealed))
	for number := 1; number <= int(parts); number++ {
		at, n, err := SealedPart(number, int64(len(sealed)))
		if err != nil {
			return nil, err
		}
		if plain, err = c.OpenPart(plain, sealed[at:at+n], number, number == int(parts)); err != nil {
			return nil, err
		}
	}
	return plain, nil
}

func TestFileRoundTrip(t *testing.T) {
	c := newTestCipher(t, NewFileKey())
	for _, n := range []int{
		0, 1, FileChunkSize - 1, FileChunkSize, FileChunkSize + 1, 2 * FileChunkSize, 3*FileChunkSize + 7,
		FilePartPlain - 1, FilePartPlain, FilePartPlain + 1, 2 * FilePartPlain, 2*FilePartPlain + FileChunkSize,
	} {
		plain := testPlain(n)
		sealed := sealFile(t, c, plain)
		if want, err := SealedFileSize(int64(n)); err != nil || want != int64(len(sealed)) {
			t.Errorf("%d: sealed %d bytes, SealedFileSize says %d, %v", n, len(sealed), want, err)
		}
		if back, err := PlainFileSize(int64(len(sealed))); err != nil || back != int64(n) {
			t.Errorf("%d: PlainFileSize says %d, %v", n, back, err)
		}
		if got, err := openFile(c, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d: opened %d bytes, %v", n, len(got), err)
		}
	}
}

// Sealing chunk by chunk gives the same bytes as sealing whole parts.
func TestFileChunks(t *testing.T) {
	c := newTestCipher(t, NewFileKey())
	plain := testPlain(FilePartPlain + FileChunkSize + 5)
	sealed := sealFile(t, c, plain)
	got, err := c.AppendHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckHeader(sealed[:FileHeaderSize]); err != nil {
		t.Error(err)
	}
	var opened []byte
	for i := 0; i*FileChunkSize < len(plain); i++ {
		p := plain[i*FileChunkSize : min((i+1)*FileChunkSize, len(plain))]
		last := (i+1)*FileChunkSize >= len(plain)
		at := len(got)
		if got, err = c.SealChunk(got, p, uint64(i), last); err != nil {
			t.Fatal(err)
		}
		if opened, err = c.OpenChunk(opened, got[at:], uint64(i), last); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, sealed) || !bytes.Equal(opened, plain) {
		t.Error("chunks and parts differ")
	}
}

// The existing bytes of dst are kept, its spare capacity is used, and a part that does not open leaves
// no plaintext in it.
func TestFilePartInPlace(t *testing.T) {
	c := newTestCipher(t, NewFileKey())
	plain := testPlain(5*FileChunkSize + 9)
	buf := append(make([]byte, 0, 1<<20), "before"...)
	sealed, err := c.SealPart(buf, plain, 1, true)
	if err != nil || &sealed[0] != &buf[0] || string(sealed[:6]) != "before" {
		t.Fatalf("not appended in place: %v", err)
	}
	dst := append(make([]byte, 0, 1<<20), "before"...)
	got, err := c.OpenPart(dst, sealed[6:], 1, true)
	if err != nil || &got[0] != &dst[0] || !bytes.Equal(got, append([]byte("before"), plain...)) {
		t.Fatalf("not appended in place: %v", err)
	}
	clear(dst[6:cap(dst)])
	sealed[len(sealed)-1] ^= 1
	if got, err := c.OpenPart(dst, sealed[6:], 1, true); got != nil || !errors.Is(err, ErrOpen) {
		t.Fatalf("a damaged part opened: %v", err)
	}
	if rest := dst[6:cap(dst)]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("the buffer contains plaintext of a part that did not open")
	}
}

// A part costs only a few allocations, whatever the number of its chunks.
func TestFilePartAllocations(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	c := newTestCipher(t, NewFileKey())
	plain := make([]byte, FilePartPlain)
	sealed, err := c.SealPart(nil, plain, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	const most = 16
	if n := testing.AllocsPerRun(3, func() { sealed, err = c.SealPart(sealed[:0], plain, 2, false) }); n > most || err != nil {
		t.Errorf("sealing allocates %v times, %v", n, err)
	}
	if n := testing.AllocsPerRun(3, func() { plain, err = c.OpenPart(plain[:0], sealed, 2, false) }); n > most || err != nil {
		t.Errorf("opening allocates %v times, %v", n, err)
	}
}

func TestFileLengths(t *testing.T) {
	c := newTestCipher(t, NewFileKey())
	full := make([]byte, FilePartPlain+1)
	for _, p := range []struct {
		n, number int
		last      bool
	}{
		{0, 0, true}, {1, -1, true}, {0, 2, true}, {0, 1, false}, {FilePartPlain - 1, 1, false}, {FilePartPlain + 1, 1, false},
		{FilePartPlain + 1, 1, true}, {FilePartPlain, math.MaxInt, false}, {FilePartPlain, maxFileParts + 1, true},
	} {
		if out, err := c.SealPart(nil, full[:p.n], p.number, p.last); !errors.Is(err, ErrFormat) || out != nil {
			t.Errorf("part %+v: %v, want ErrFormat", p, err)
		}
		sealed := make([]byte, p.n+FileHeaderSize)
		if out, err := c.OpenPart(nil, sealed, p.number, p.last); err == nil || out != nil {
			t.Errorf("part %+v opened: %v", p, err)
		}
	}
	for _, k := range []struct {
		n     int
		index uint64
		last  bool
	}{
		{0, 0, false}, {0, 1, true}, {1, 0, false}, {FileChunkSize - 1, 3, false}, {FileChunkSize + 1, 0, true},
		{FileChunkSize, math.MaxUint64, true}, {FileChunkSize, maxFileChunks, false},
	} {
		if out, err := c.SealChunk(nil, full[:k.n], k.index, k.last); !errors.Is(err, ErrFormat) || out != nil {
			t.Errorf("chunk %+v: %v, want ErrFormat", k, err)
		}
		if out, err := c.OpenChunk(nil, make([]byte, k.n+TagSize), k.index, k.last); !errors.Is(err, ErrFormat) || out != nil {
			t.Errorf("sealed chunk %+v: %v, want ErrFormat", k, err)
		}
	}
	if _, err := c.OpenChunk(nil, make([]byte, TagSize-1), 0, true); !errors.Is(err, ErrFormat) {
		t.Errorf("chunk shorter than a tag: %v", err)
	}
}

// D1: sizes around 2^31, 2^32 and 2^63 are computed correctly or refused.
func TestFileSizesD1(t *testing.T) {
	for _, v := range []struct{ plain, sealed, parts int64 }{
		{0, 49, 1}, {1, 50, 1}, {FileChunkSize, 65585, 1}, {FileChunkSize + 1, 65602, 1},
		{FilePartPlain, 8390689, 1}, {FilePartPlain + 1, 8390706, 2},
		{1<<31 - 1, 2148007968, 256}, {1 << 31, 2148007969, 256}, {1<<31 + 1, 2148007986, 257},
		{1<<32 - 1, 4296015904, 512}, {1 << 32, 4296015905, 512}, {1<<32 + 1, 4296015922, 513},
		{5 << 30, 5370019873, 640},
		{1 << 62, 1<<62 + 1<<50 + FileHeaderSize, 1 << 39},
	} {
		sealed, err := SealedFileSize(v.plain)
		if err != nil || sealed != v.sealed {
			t.Errorf("%d: sealed size %d, %v; want %d", v.plain, sealed, err, v.sealed)
		}
		if plain, err := PlainFileSize(v.sealed); err != nil || plain != v.plain {
			t.Errorf("%d: plain size %d, %v; want %d", v.sealed, plain, err, v.plain)
		}
		if parts, err := FileParts(v.sealed); err != nil || parts != v.parts {
			t.Errorf("%d: %d parts, %v; want %d", v.sealed, parts, err, v.parts)
		}
	}
	for _, n := range []int64{-1, math.MinInt64, math.MaxInt64, math.MaxInt64 - 1, maxFileChunks*FileChunkSize + 1} {
		if got, err := SealedFileSize(n); !errors.Is(err, ErrFormat) {
			t.Errorf("plain size %d: %d, %v", n, got, err)
		}
	}
	most, err := SealedFileSize(maxFileChunks * FileChunkSize)
	if err != nil || most != MaxSealedFile || maxFileParts != 1_099_243_257_839 { // SPEC "File streams"
		t.Errorf("the largest file: %d, %v", most, err)
	}
	// Lengths that no file has: only the header, only a tag after a full chunk, and fewer bytes than a
	// tag.
	bad := []int64{math.MinInt64, -1, 0, 1, 32, 33, 48, 65586, 65601, 1<<32 - 1 - 1<<32, math.MaxInt64, MaxSealedFile + 1,
		FileHeaderSize + 65540*sealedChunkSize + 1, FileHeaderSize + 65540*sealedChunkSize + TagSize}
	for _, n := range bad {
		if got, err := PlainFileSize(n); !errors.Is(err, ErrFormat) {
			t.Errorf("sealed size %d: %d, %v", n, got, err)
		}
		if _, _, err := SealedPart(1, n); !errors.Is(err, ErrFormat) {
			t.Errorf("part of sealed size %d: %v", n, err)
		}
	}
	for _, number := range []int{0, -1, math.MinInt, 3, math.MaxInt} {
		if _, _, err := SealedPart(number, 8390706); !errors.Is(err, ErrFormat) {
			t.Errorf("part %d of 2: %v", number, err)
		}
	}
}

// D1: a chunk beyond 4 GiB does not open as the one with the same counter in 32 or 16 bits, and a
// sealed length that is 2^32 too long is no prefix.
func TestFileCounterD1(t *testing.T) {
	c := newTestCipher(t, NewFileKey())
	plain := testPlain(FileChunkSize)
	for _, index := range []uint64{1 << 15, 1 << 16, 1<<16 + 1, 1 << 31, 1 << 32, 1<<32 + 1, maxFileChunks - 1} {
		sealed, err := c.SealChunk(nil, plain, index, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.OpenChunk(nil, sealed, index, true); err != nil {
			t.Errorf("chunk %d: %v", index, err)
		}
		for _, other := range []uint64{uint64(uint8(index)), uint64(uint16(index)), uint64(uint32(index)), uint64(uint32(index) / 2), index - 1} {
			if other == index {
				continue
			}
			if _, err := c.OpenChunk(nil, sealed, other, true); !errors.Is(err, ErrOpen) {
				t.Errorf("chunk %d opened as %d: %v", index, other, err)
			}
		}
	}
}

// Parts cover a sealed file without a gap or an overlap, and each is aligned.
func TestFilePartsCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.Int64Range(0, 40*FilePartPlain).Draw(t, "plain")
		sealed, err := SealedFileSize(plain)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := FileParts(sealed)
		if err != nil {
			t.Fatal(err)
		}
		var end int64
		for number := 1; number <= int(parts); number++ {
			at, n, err := SealedPart(number, sealed)
			if err != nil || at != end || n <= TagSize || n > FileHeaderSize+sealedPartSize {
				t.Fatalf("part %d at %d of %d bytes, want at %d: %v", number, at, n, end, err)
			}
			end = at + n
		}
		if end != sealed || parts != max((plain+FilePartPlain-1)/FilePartPlain, 1) {
			t.Fatalf("%d parts end at %d of %d", parts, end, sealed)
		}
	})
}

func TestFileKey(t *testing.T) {
	secret := []byte("CANARY-canary-CANARY-canary-1234")
	k, err := ParseFileKey(secret)
	if err != nil || !bytes.Equal(k.Bytes(), secret) {
		t.Fatal(err)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := ParseFileKey(make([]byte, n)); !errors.Is(err, ErrFormat) {
			t.Errorf("key of %d bytes: %v", n, err)
		}
	}
	c := newTestCipher(t, k)
	type holder struct {
		k FileKey
		c *FileCipher
	}
	derived := fmt.Sprintf("%x", c.s.Get().header[1:9]) // a printed commitment would come with the key
	for _, v := range []any{k, &k, c, *c, holder{k, c}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%c", "%U", "%t", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		data, _ := json.Marshal(v) // an error is also fine
		out.Write(data)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", v)
		got := strings.ToLower(out.String())
		for _, form := range []string{"canary", hex.EncodeToString([]byte("canary")), "67 65 78", "99 97 110", "c a n a", derived} {
			if strings.Contains(got, form) {
				t.Errorf("%T shows a secret: %s", v, got)
			}
		}
		if reflect.TypeOf(v).Kind() == reflect.Struct && reflect.TypeOf(v).Comparable() {
			t.Errorf("%T is comparable", v)
		}
	}
	other := k
	k.Wipe()
	if !other.IsZero() || other.Bytes() != nil {
		t.Error("a copy of a wiped key has a secret")
	}
	if _, err := NewFileCipher(other); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("cipher of a wiped key: %v", err)
	}
	if _, err := c.AppendHeader(nil); err != nil {
		t.Errorf("the cipher does not work after its key was wiped: %v", err)
	}
	c.Wipe()
	_, err1 := c.SealPart(nil, nil, 1, true)
	_, err2 := c.OpenPart(nil, nil, 1, true)
	_, err3 := c.SealChunk(nil, nil, 0, true)
	_, err4 := c.OpenChunk(nil, nil, 0, true)
	_, err5 := c.AppendHeader(nil)
	for i, err := range []error{err1, err2, err3, err4, err5, c.CheckHeader(nil)} {
		if !errors.Is(err, key.ErrNoKey) {
			t.Errorf("use %d of a wiped cipher: %v", i+1, err)
		}
	}
}

func FuzzOpenPart(f *testing.F) {
	k, err := ParseFileKey(bytes.Repeat([]byte{1}, FileKeySize)) // the same in every process of the fuzzer
	if err != nil {
		f.Fatal(err)
	}
	c := newTestCipher(f, k)
	made := map[string]bool{}
	for _, n := range []int{0, 1, 100, FileChunkSize, FileChunkSize + 1} {
		sealed := sealFile(f, c, testPlain(n))
		made[string(sealed)] = true
		f.Add(sealed, 1, true)
		f.Add(sealed[FileHeaderSize:], 2, true)
	}
	f.Add([]byte{}, 0, false)
	f.Fuzz(func(t *testing.T, sealed []byte, number int, last bool) {
		got, err := c.OpenPart(nil, sealed, number, last)
		if err != nil && got != nil {
			t.Error("plaintext was returned together with an error")
		}
		if err == nil && (number != 1 || !last || !made[string(sealed)]) {
			t.Errorf("forged part %d (last %v) of %d bytes: %d bytes", number, last, len(sealed), len(got))
		}
		if at, n, err := SealedPart(number, int64(len(sealed))); err == nil && (at < 0 || n <= 0 || at+n > int64(len(sealed))) {
			t.Errorf("part %d of %d bytes is at %d, %d bytes", number, len(sealed), at, n)
		}
	})
}

// BenchmarkRawChunk is one pass of the bare cipher over 64 KiB on one core.
func BenchmarkRawChunk(b *testing.B) {
	aead, err := chacha20poly1305.New(randomKey())
	if err != nil {
		b.Fatal(err)
	}
	plain := make([]byte, FileChunkSize)
	rand.Read(plain)
	out := make([]byte, 0, sealedChunkSize)
	nonce := make([]byte, chacha20poly1305.NonceSize)
	b.SetBytes(FileChunkSize)
	for b.Loop() {
		aead.Seal(out, nonce, plain, nil)
	}
}

func BenchmarkSealPart(b *testing.B) {
	c := newTestCipher(b, NewFileKey())
	plain := make([]byte, FilePartPlain)
	rand.Read(plain)
	out := make([]byte, 0, FileHeaderSize+sealedPartSize)
	b.SetBytes(FilePartPlain)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.SealPart(out, plain, 1, false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenPart(b *testing.B) {
	c := newTestCipher(b, NewFileKey())
	sealed, err := c.SealPart(nil, make([]byte, FilePartPlain), 1, false)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, FilePartPlain)
	b.SetBytes(FilePartPlain)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.OpenPart(out, sealed, 1, false); err != nil {
			b.Fatal(err)
		}
	}
}

// B13: a file of one chunk that the bare cipher opens under two keys. With the header of either key,
// the other key refuses it.
func TestFileTwoKeysB13(t *testing.T) {
	var keys [2]FileKey
	var ciphers [2]*FileCipher
	var derived2 [2]derived
	for i := range keys {
		keys[i] = NewFileKey()
		ciphers[i] = newTestCipher(t, keys[i])
		okm, err := hkdf.Key(sha512.New, keys[i].Bytes(), nil, labelFile, chacha20poly1305.KeySize)
		if err != nil {
			t.Fatal(err)
		}
		var nonce [chacha20poly1305.NonceSize]byte
		setNonce(&nonce, 0, true)
		derived2[i] = append(derived(okm), nonce[:]...)
	}
	chunk := collide(t, derived2[0], derived2[1])
	for i, c := range ciphers {
		if _, err := c.OpenChunk(nil, chunk, 0, true); err != nil {
			t.Fatalf("the attack does not work under key %d: %v", i+1, err)
		}
	}
	for i, c := range ciphers {
		header, err := c.AppendHeader(nil)
		if err != nil {
			t.Fatal(err)
		}
		sealed := append(header, chunk...)
		if _, err := c.OpenPart(nil, sealed, 1, true); err != nil {
			t.Errorf("key %d: %v", i+1, err)
		}
		if p, err := ciphers[1-i].OpenPart(nil, sealed, 1, true); !errors.Is(err, ErrCommitment) || p != nil {
			t.Errorf("the other key than %d: %v, want ErrCommitment", i+1, err)
		}
	}
}
