package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"secmsg/crypto/seal"
)

func attackKey() []byte { return bytes.Repeat([]byte{0x5a}, 32) }

func opposite(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x80
	return b
}

// D2: the modifications of a STREAM in age's test vectors (C2SP/CCTV, age/testdata, stream_* and
// similar ones of the header), applied to our format by a sender who knows the key.
func TestFileStreamD2(t *testing.T) {
	k := attackKey()
	header := specHeader(k)
	full, short := pattern(specChunkPlain), pattern(100)
	chunk := func(plain []byte, index uint64, flag byte) []byte { return specChunk(k, plain, index, flag) }
	first := chunk(full, 0, 0)
	for _, v := range []struct {
		name  string
		parts [][]byte
		want  error // nil: must open
	}{
		{"stream_empty_payload", [][]byte{chunk(nil, 0, 1)}, nil},
		{"stream_last_chunk_full", [][]byte{first, chunk(full, 1, 1)}, nil},
		{"stream_two_chunks", [][]byte{first, chunk(short, 1, 1)}, nil},
		{"stream_three_chunks", [][]byte{first, chunk(full, 1, 0), chunk(short, 2, 1)}, nil},
		{"stream_no_chunks", nil, seal.ErrFormat},
		{"stream_bad_tag", [][]byte{opposite(chunk(short, 0, 1), 115)}, seal.ErrOpen},
		{"stream_bad_tag_second_chunk", [][]byte{first, opposite(chunk(short, 1, 1), 115)}, seal.ErrOpen},
		{"stream_bad_tag_second_chunk_full", [][]byte{first, opposite(chunk(full, 1, 1), specChunkPlain)}, seal.ErrOpen},
		{"stream_missing_tag", [][]byte{chunk(short, 0, 1)[:100]}, seal.ErrOpen},
		{"stream_short_chunk", [][]byte{chunk(short, 0, 0), chunk(short, 1, 1)}, seal.ErrOpen},
		{"stream_short_second_chunk", [][]byte{first, chunk(short, 1, 0), chunk(short, 2, 1)}, seal.ErrOpen},
		{"stream_last_chunk_empty", [][]byte{first, chunk(nil, 1, 1)}, seal.ErrFormat},
		{"stream_last_chunk_empty after two", [][]byte{first, chunk(full, 1, 0), chunk(nil, 2, 1)}, seal.ErrFormat},
		{"stream_no_final", [][]byte{chunk(short, 0, 0)}, seal.ErrOpen},
		{"stream_no_final_full", [][]byte{first}, seal.ErrOpen},
		{"stream_no_final_two_chunks", [][]byte{first, chunk(short, 1, 0)}, seal.ErrOpen},
		{"stream_no_final_two_chunks_full", [][]byte{first, chunk(full, 1, 0)}, seal.ErrOpen},
		{"stream_two_final_chunks", [][]byte{chunk(full, 0, 1), chunk(short, 1, 1)}, seal.ErrOpen},
		{"stream_two_final_chunks_full", [][]byte{chunk(full, 0, 1), chunk(full, 1, 1)}, seal.ErrOpen},
		{"stream_trailing_garbage_short", [][]byte{chunk(short, 0, 1), {1, 2, 3}}, seal.ErrOpen},
		{"stream_trailing_garbage_short, full", [][]byte{chunk(full, 0, 1), {1, 2, 3}}, seal.ErrFormat},
		{"stream_trailing_garbage_long", [][]byte{chunk(short, 0, 1), pattern(2 * specChunkPlain)}, seal.ErrOpen},
		{"stream_trailing_garbage_long, full", [][]byte{chunk(full, 0, 1), pattern(2 * specChunkPlain)}, seal.ErrOpen},
		{"truncated at a chunk", [][]byte{first, chunk(full, 1, 0)}, seal.ErrOpen},
		{"reordered", [][]byte{chunk(full, 1, 0), first, chunk(short, 2, 1)}, seal.ErrOpen},
		{"duplicate", [][]byte{first, first, chunk(short, 1, 1)}, seal.ErrOpen},
		{"duplicate last", [][]byte{first, chunk(full, 1, 1), chunk(full, 1, 1)}, seal.ErrOpen},
		{"chunk left out", [][]byte{first, chunk(short, 2, 1)}, seal.ErrOpen},
		{"last flag set too early", [][]byte{chunk(full, 0, 1), chunk(full, 1, 0), chunk(short, 2, 1)}, seal.ErrOpen},
		{"another flag", [][]byte{first, chunk(short, 1, 3)}, seal.ErrOpen},
		{"counter from 1", [][]byte{chunk(full, 1, 0), chunk(short, 2, 1)}, seal.ErrOpen},
		{"counter stands still", [][]byte{first, chunk(short, 0, 1)}, seal.ErrOpen},
		{"counter of 2^64 - 1", [][]byte{chunk(short, 1<<64-1, 1)}, seal.ErrOpen},
		{"counter in the flag's place", [][]byte{first, chunk(short, 1<<8, 1)}, seal.ErrOpen},
		{"chunk longer than 64 KiB", [][]byte{chunk(pattern(specChunkPlain+1), 0, 1)}, seal.ErrFormat},
		{"chunk longer than 64 KiB by a tag and more", [][]byte{chunk(pattern(specChunkPlain+17), 0, 1)}, seal.ErrOpen},
		{"a second header", [][]byte{header, chunk(short, 0, 1)}, seal.ErrOpen},
		{"chunk of another file", [][]byte{first, specChunk(pattern(32), short, 1, 1)}, seal.ErrOpen},
	} {
		sealed := slices.Concat(header, bytes.Join(v.parts, nil))
		plain, err := codeOpen(t, k, sealed)
		_, specErr := specOpen(k, sealed)
		if !errors.Is(err, v.want) || v.want != nil && plain != nil || (specErr == nil) != (v.want == nil) {
			t.Errorf("%s: %v, second implementation %v; want %v", v.name, err, specErr, v.want)
		}
	}
	body := chunk(short, 0, 1)
	for _, v := range []struct {
		name   string
		sealed []byte
		want   error
	}{
		{"stream_no_nonce", nil, seal.ErrFormat}, // our header takes the place of the nonce
		{"stream_short_nonce", header[:12], seal.ErrFormat},
		{"header missing", body, seal.ErrFormat},
		{"hmac_missing", slices.Concat(header[:1], body), seal.ErrCommitment},
		{"hmac_truncated", slices.Concat(header[:32], body), seal.ErrCommitment},
		{"hmac_garbage", slices.Concat(header[:1], pattern(32), body), seal.ErrCommitment},
		{"version_unsupported", slices.Concat([]byte{2}, header[1:], body), seal.ErrFormat},
	} {
		if plain, err := codeOpen(t, k, v.sealed); !errors.Is(err, v.want) || plain != nil {
			t.Errorf("%s: %v, want %v", v.name, err, v.want)
		}
	}
}

// D2: of all orders of up to four of a file's four chunks, only the original opens, and no claimed
// number and last flag makes another one open as a part.
func TestFileOrdersD2(t *testing.T) {
	k := attackKey()
	header, plain := specHeader(k), pattern(3*specChunkPlain+20)
	sealed := specSeal(k, plain)[len(header):]
	const size = specChunkPlain + specTag
	pieces := [][]byte{sealed[:size], sealed[size : 2*size], sealed[2*size : 3*size], sealed[3*size:]}
	c := codeCipher(t, k)
	opened := 0
	var try func(order []int)
	try = func(order []int) {
		file := slices.Clone(header)
		for _, i := range order {
			file = append(file, pieces[i]...)
		}
		got, err := codeOpen(t, k, file)
		if err == nil {
			if opened++; !slices.Equal(order, []int{0, 1, 2, 3}) || !bytes.Equal(got, plain) {
				t.Errorf("chunks %v open", order)
			}
		}
		if len(order) < 3 { // as a middle part, or a part that is not the first
			for _, p := range []struct {
				body   []byte
				number int
				last   bool
			}{{file, 1, false}, {file[len(header):], 2, true}, {file[len(header):], 2, false}, {file, 2, true}} {
				if _, err := c.OpenPart(nil, p.body, p.number, p.last); err == nil {
					t.Errorf("chunks %v open as part %d, last %v", order, p.number, p.last)
				}
			}
		}
		if len(order) < 4 {
			for i := range pieces {
				try(append(slices.Clone(order), i))
			}
		}
	}
	try(nil)
	if opened != 1 {
		t.Errorf("%d orders open, want 1", opened)
	}
}

// D2: every truncation and every changed byte of a short file, and every length around the borders of a
// longer one.
func TestFileCutD2(t *testing.T) {
	k := attackKey()
	small := specSeal(k, pattern(90))
	for i := range small {
		if _, err := codeOpen(t, k, small[:i]); err == nil {
			t.Errorf("cut to %d bytes: opens", i)
		}
		if _, err := codeOpen(t, k, opposite(small, i)); err == nil {
			t.Errorf("byte %d changed: opens", i)
		}
	}
	long := specSeal(k, pattern(2*specChunkPlain+50))
	borders := []int{33, 33 + specChunkPlain, 33 + specChunkPlain + 16, 33 + 2*(specChunkPlain+16), len(long) - 10}
	for _, border := range borders {
		for n := border - 20; n < min(border+20, len(long)); n++ {
			if _, err := codeOpen(t, k, long[:n]); err == nil {
				t.Errorf("cut to %d bytes: opens", n)
			}
		}
	}
	for _, n := range []int{1, 15, 16, 17, 33, specChunkPlain, specChunkPlain + 16} {
		if _, err := codeOpen(t, k, append(slices.Clone(long), make([]byte, n)...)); err == nil {
			t.Errorf("%d bytes more: opens", n)
		}
	}
}

// D2, D11: whole parts that are missing, swapped, repeated, of another file, or claimed to be the last.
func TestFilePartsD2(t *testing.T) {
	k, other := attackKey(), bytes.Repeat([]byte{0x5b}, 32)
	plain := pattern(2*seal.FilePartPlain + 30)
	sealed, foreign := codeSeal(t, k, plain), codeSeal(t, other, plain)
	const partSize = specPartChunks * (specChunkPlain + specTag)
	cut := func(b []byte) (p [3][]byte) {
		return [3][]byte{b[33 : 33+partSize], b[33+partSize : 33+2*partSize], b[33+2*partSize:]}
	}
	h, p, f := sealed[:33], cut(sealed), cut(foreign)
	for name, file := range map[string][]byte{
		"parts swapped":             slices.Concat(h, p[1], p[0], p[2]),
		"part repeated":             slices.Concat(h, p[0], p[0], p[2]),
		"part left out":             slices.Concat(h, p[0], p[2]),
		"last part left out":        slices.Concat(h, p[0], p[1]),
		"first part only":           slices.Concat(h, p[0]),
		"part of another file":      slices.Concat(h, p[0], f[1], p[2]),
		"last part of another file": slices.Concat(h, p[0], p[1], f[2]),
		"the other file":            foreign,
		"other file, own header":    slices.Concat(h, foreign[33:]),
		"own file, other header":    slices.Concat(foreign[:33], sealed[33:]),
	} {
		if got, err := codeOpen(t, k, file); err == nil || got != nil {
			t.Errorf("%s: opens", name)
		}
	}
	c := codeCipher(t, k)
	for i, claim := range []struct {
		body   []byte
		number int
		last   bool
	}{
		{sealed[:33+partSize], 1, true}, {p[0], 1, false}, {p[0], 2, false}, {p[1], 2, true}, {p[1], 1, false}, {p[1], 3, false},
		{p[2], 3, false}, {p[2], 2, true}, {p[2], 4, true}, {slices.Concat(h, p[1]), 2, false}, {slices.Concat(p[0], p[1]), 1, false},
	} {
		if got, err := c.OpenPart(nil, claim.body, claim.number, claim.last); err == nil || got != nil {
			t.Errorf("claim %d: opens as part %d", i, claim.number)
		}
	}
	if got, err := codeOpen(t, k, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("the file itself: %v", err)
	}
}

// D3: every bit of the header is checked before anything is opened: the chunks are garbage here, which
// only a valid header can reveal.
func TestFileHeaderD3(t *testing.T) {
	k := attackKey()
	header := specHeader(k)
	garbage := pattern(200)
	c := codeCipher(t, k)
	if _, err := c.OpenPart(nil, slices.Concat(header, garbage), 1, true); !errors.Is(err, seal.ErrOpen) {
		t.Fatalf("header right, chunk wrong: %v", err)
	}
	good := specSeal(k, garbage)
	for bit := range 8 * len(header) {
		bad := bytes.Clone(header)
		bad[bit/8] ^= 1 << (bit % 8)
		want := seal.ErrCommitment
		if bit < 8 {
			want = seal.ErrFormat
		}
		for _, body := range [][]byte{garbage, good[33:]} {
			dst := make([]byte, 0, 4096)
			if got, err := c.OpenPart(dst, slices.Concat(bad, body), 1, true); !errors.Is(err, want) || got != nil {
				t.Errorf("bit %d: %v, want %v", bit, err, want)
			}
			if out := dst[:cap(dst)]; !bytes.Equal(out, make([]byte, len(out))) {
				t.Errorf("bit %d: plaintext was written", bit)
			}
		}
		if err := c.CheckHeader(bad); !errors.Is(err, want) {
			t.Errorf("bit %d: CheckHeader %v", bit, err)
		}
	}
}

// D4: one changed bit anywhere in a part of 8 MiB: no plaintext is returned.
func TestFileNothingBeforeTheTagD4(t *testing.T) {
	k := attackKey()
	sealed := codeSeal(t, k, pattern(seal.FilePartPlain))
	c := codeCipher(t, k)
	dst := make([]byte, 0, seal.FilePartPlain)
	for _, at := range []int{33, 33 + 64*(specChunkPlain+16), len(sealed) - 1} {
		sealed[at] ^= 1
		got, err := c.OpenPart(dst, sealed, 1, true)
		if !errors.Is(err, seal.ErrOpen) || got != nil {
			t.Errorf("byte %d: %v", at, err)
		}
		if out := dst[:cap(dst)]; !bytes.Equal(out, make([]byte, len(out))) {
			t.Errorf("byte %d: plaintext stayed in the buffer", at)
		}
		sealed[at] ^= 1
	}
	if _, err := c.OpenPart(dst, sealed, 1, true); err != nil {
		t.Error(fmt.Errorf("the part itself: %w", err))
	}
}
