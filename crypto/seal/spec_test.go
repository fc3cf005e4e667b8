package seal_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/seal"
)

// update rewrites the vectors in crypto/testdata. They are the protocol: changing their contents means
// a new version.
var update = flag.Bool("update", false, "write new vectors")

// A second implementation, written from SPEC.md "File streams" alone: the spec functions use nothing of
// this module. If they cannot compute something, the specification is incomplete; if the code differs,
// the code violates the protocol. They also serve as the hostile peer: specChunk seals anything.

const (
	specChunkPlain = 65536
	specTag        = 16
	specPartChunks = 128
)

func specDerive(fileKey []byte) (chunkKey, commitment []byte) {
	okm, err := hkdf.Key(sha512.New, fileKey, nil, "secmsg v1 file stream", 64)
	if err != nil {
		return nil, nil
	}
	return okm[:32], okm[32:]
}

func specNonce(index uint64, flag byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 3, 12), index), flag)
}

func specHeader(fileKey []byte) []byte {
	_, commitment := specDerive(fileKey)
	return append([]byte{1}, commitment...)
}

func specChunk(fileKey, plain []byte, index uint64, flag byte) []byte {
	chunkKey, _ := specDerive(fileKey)
	aead, err := chacha20poly1305.New(chunkKey)
	if err != nil {
		return nil
	}
	return aead.Seal(nil, specNonce(index, flag), plain, nil)
}

func specSeal(fileKey, plain []byte) []byte {
	out := append(make([]byte, 0, len(plain)+len(plain)/1000+100), specHeader(fileKey)...)
	for index := uint64(0); ; index++ {
		if len(plain) <= specChunkPlain {
			return append(out, specChunk(fileKey, plain, index, 1)...)
		}
		out = append(out, specChunk(fileKey, plain[:specChunkPlain], index, 0)...)
		plain = plain[specChunkPlain:]
	}
}

var errSpec = errors.New("refused")

func specOpen(fileKey, sealed []byte) ([]byte, error) {
	chunkKey, _ := specDerive(fileKey)
	if !bytes.HasPrefix(sealed, specHeader(fileKey)) {
		return nil, errSpec
	}
	aead, err := chacha20poly1305.New(chunkKey)
	if err != nil {
		return nil, err
	}
	rest, plain := sealed[33:], make([]byte, 0, len(sealed))
	for index := uint64(0); ; index++ {
		n, flag := min(len(rest), specChunkPlain+specTag), byte(0)
		if n == len(rest) {
			flag = 1
		}
		p, err := aead.Open(nil, specNonce(index, flag), rest[:n], nil)
		if err != nil || len(p) == 0 && index > 0 {
			return nil, errSpec
		}
		if plain, rest = append(plain, p...), rest[n:]; flag == 1 {
			return plain, nil
		}
	}
}

// pattern is the plaintext of the vectors: byte i is i + i/251, modulo 256.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + i/251)
	}
	return b
}

// codeSeal and codeOpen run the code like sender and receiver, part by part.
func codeSeal(t *testing.T, fileKey, plain []byte) []byte {
	t.Helper()
	c := codeCipher(t, fileKey)
	out := make([]byte, 0, len(plain)+len(plain)/1000+100)
	for number := 1; ; number++ {
		n := min(len(plain), seal.FilePartPlain)
		var err error
		if out, err = c.SealPart(out, plain[:n], number, n == len(plain)); err != nil {
			t.Fatal(err)
		}
		if plain = plain[n:]; len(plain) == 0 {
			return out
		}
	}
}

func codeOpen(t *testing.T, fileKey, sealed []byte) ([]byte, error) {
	t.Helper()
	parts, err := seal.FileParts(int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	c := codeCipher(t, fileKey)
	plain := make([]byte, 0, len(sealed))
	for number := 1; number <= int(parts); number++ {
		at, n, err := seal.SealedPart(number, int64(len(sealed)))
		if err != nil {
			return nil, err
		}
		if plain, err = c.OpenPart(plain, sealed[at:at+n], number, number == int(parts)); err != nil {
			return nil, err
		}
	}
	return plain, nil
}

func codeCipher(t *testing.T, fileKey []byte) *seal.FileCipher {
	t.Helper()
	k, err := seal.ParseFileKey(fileKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := seal.NewFileCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type hexText []byte

func (h hexText) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexText) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type fileVectors struct {
	Comment string  `json:"comment"`
	Key     hexText `json:"file_key"`
	Header  hexText `json:"header"`
	Files   []struct {
		Length int     `json:"length"`
		Size   int     `json:"sealed_length"`
		SHA256 hexText `json:"sealed_sha256"`
		Sealed hexText `json:"sealed,omitempty"` // short ones only
	} `json:"files"`
	Chunks []struct {
		Index  uint64  `json:"index"`
		Last   bool    `json:"last"`
		Length int     `json:"length"`
		SHA256 hexText `json:"sealed_sha256"`
	} `json:"chunks"`
	Refused []struct {
		Name   string  `json:"name"`
		Error  string  `json:"error"` // format, commitment, open
		Sealed hexText `json:"sealed"`
	} `json:"refused"`
}

func vectorsPath() string { return filepath.Join("..", "testdata", "file.json") }

func loadFileVectors(t *testing.T) fileVectors {
	t.Helper()
	data, err := os.ReadFile(vectorsPath())
	if err != nil {
		t.Fatal(err)
	}
	var v fileVectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Files) < 10 || len(v.Chunks) < 3 || len(v.Refused) < 8 {
		t.Fatalf("%d files, %d chunks, %d refused", len(v.Files), len(v.Chunks), len(v.Refused))
	}
	return v
}

// The code and the second implementation both match the frozen vectors.
func TestFileVectors(t *testing.T) {
	if *update {
		writeFileVectors(t)
	}
	v := loadFileVectors(t)
	if !bytes.Equal(specHeader(v.Key), v.Header) {
		t.Error("the second implementation's header differs")
	}
	for _, f := range v.Files {
		plain := pattern(f.Length)
		for name, sealed := range map[string][]byte{"code": codeSeal(t, v.Key, plain), "spec": specSeal(v.Key, plain)} {
			sum := sha256.Sum256(sealed)
			if len(sealed) != f.Size || !bytes.Equal(sum[:], f.SHA256) || f.Sealed != nil && !bytes.Equal(sealed, f.Sealed) {
				t.Errorf("%d bytes: the file sealed by %s differs", f.Length, name)
			}
			got, err := codeOpen(t, v.Key, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: the code does not open what %s sealed: %v", f.Length, name, err)
			}
			got, err = specOpen(v.Key, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: the second implementation does not open what %s sealed: %v", f.Length, name, err)
			}
		}
	}
	c := codeCipher(t, v.Key)
	for _, k := range v.Chunks {
		sealed, err := c.SealChunk(nil, pattern(k.Length), k.Index, k.Last)
		if err != nil {
			t.Fatal(err)
		}
		flag := byte(0)
		if k.Last {
			flag = 1
		}
		sum := sha256.Sum256(sealed)
		if !bytes.Equal(sum[:], k.SHA256) || !bytes.Equal(sealed, specChunk(v.Key, pattern(k.Length), k.Index, flag)) {
			t.Errorf("chunk %d (last %v) differs", k.Index, k.Last)
		}
	}
	for _, r := range v.Refused {
		plain, err := codeOpen(t, v.Key, r.Sealed)
		if !errors.Is(err, errorNames()[r.Error]) || plain != nil {
			t.Errorf("%s: %v, want %s", r.Name, err, r.Error)
		}
		if _, err := specOpen(v.Key, r.Sealed); err == nil {
			t.Errorf("%s: the second implementation opens it", r.Name)
		}
	}
}

func errorNames() map[string]error {
	return map[string]error{"format": seal.ErrFormat, "commitment": seal.ErrCommitment, "open": seal.ErrOpen}
}

func writeFileVectors(t *testing.T) {
	t.Helper()
	fileKey := bytes.Repeat([]byte{0x33}, 32)
	header := specHeader(fileKey)
	sum := func(b []byte) hexText { s := sha256.Sum256(b); return s[:] }
	file := func(n int) map[string]any {
		sealed := codeSeal(t, fileKey, pattern(n))
		m := map[string]any{"length": n, "sealed_length": len(sealed), "sealed_sha256": sum(sealed)}
		if len(sealed) <= 100 {
			m["sealed"] = hexText(sealed)
		}
		return m
	}
	chunk := func(index uint64, last bool, n int) map[string]any {
		sealed, err := codeCipher(t, fileKey).SealChunk(nil, pattern(n), index, last)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"index": index, "last": last, "length": n, "sealed_sha256": sum(sealed)}
	}
	refused := func(name, code string, parts ...[]byte) map[string]any {
		return map[string]any{"name": name, "error": code, "sealed": hexText(bytes.Join(parts, nil))}
	}
	good := specSeal(fileKey, pattern(10))
	flip := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 1; return b }
	v := map[string]any{
		"comment":  "crypto/SPEC.md \"File streams\". Byte i of every plaintext is i + i/251 modulo 256.",
		"file_key": hexText(fileKey), "header": hexText(header),
		"files": []any{file(0), file(1), file(50), file(65535), file(65536), file(65537), file(131072), file(131073),
			file(8388607), file(8388608), file(8388609), file(16777216)},
		"chunks": []any{chunk(0, false, 65536), chunk(127, true, 1), chunk(128, false, 65536), chunk(1<<32, true, 65536), chunk(1<<32+1, false, 65536)},
		"refused": []any{
			refused("empty", "format"), refused("header only", "format", header), refused("short header", "format", header[:32]),
			refused("version 0", "format", []byte{0}, good[1:]), refused("version 2", "format", []byte{2}, good[1:]),
			refused("commitment changed at its start", "commitment", flip(1)), refused("commitment changed at its end", "commitment", flip(32)),
			refused("commitment of another key", "commitment", specHeader(bytes.Repeat([]byte{0x34}, 32)), good[33:]),
			refused("ciphertext changed", "open", flip(33)), refused("tag changed", "open", flip(len(good)-1)),
			refused("tag cut", "open", good[:len(good)-1]), refused("tag only", "open", header, good[len(good)-16:]),
			refused("less than a tag", "format", good[:33+15]), refused("one byte more", "open", good, []byte{0}),
			refused("flag not set on the last chunk", "open", header, specChunk(fileKey, pattern(10), 0, 0)),
			refused("another flag", "open", header, specChunk(fileKey, pattern(10), 0, 2)),
			refused("counter from 1", "open", header, specChunk(fileKey, pattern(10), 1, 1)),
			refused("empty chunk without the flag", "open", header, specChunk(fileKey, nil, 0, 0)),
			refused("last chunk of another key", "open", header, specChunk(bytes.Repeat([]byte{0x34}, 32), pattern(10), 0, 1)),
		},
	}
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsPath(), append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
