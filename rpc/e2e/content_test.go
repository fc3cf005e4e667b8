package e2e

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func text(n uint64, s string) *Content {
	return &Content{Kind: Kind_KIND_TEXT, N: n, Body: &Content_Text{Text: &Text{Text: s}}}
}

func sentAt(ms int64) *Content {
	c := text(1, "hi")
	c.SentMs = ms
	return c
}

func ids(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Repeat([]byte{byte(i)}, IDSize)
	}
	return out
}

// file is a valid file reference.
func file(id []byte) *File {
	return &File{Id: id, Blob: "blob-1", Key: make([]byte, FileKeySize), Size: 5, Sha256: make([]byte, 32), Name: "a.txt",
		Type: "text/plain", Thumbnail: &Thumbnail{Jpeg: []byte{1}, Width: 1, Height: 1}}
}

func textWith(s string, files ...*File) *Content {
	return &Content{Kind: Kind_KIND_TEXT, N: 1, Body: &Content_Text{Text: &Text{Text: s, Files: files}}}
}

func manyFiles(n int) []*File {
	out := make([]*File, n)
	for i, id := range ids(n) {
		out[i] = file(id)
	}
	return out
}

func TestFileRules(t *testing.T) {
	for name, spoil := range map[string]func(*File){
		"blob missing":       func(f *File) { f.Blob = "" },
		"blob with a space":  func(f *File) { f.Blob = "a b" },
		"blob too long":      func(f *File) { f.Blob = strings.Repeat("b", MaxBlobID+1) },
		"long key":           func(f *File) { f.Key = make([]byte, FileKeySize+1) },
		"short digest":       func(f *File) { f.Sha256 = f.Sha256[1:] },
		"size of 2^63":       func(f *File) { f.Size = 1 << 63 },
		"name too long":      func(f *File) { f.Name = strings.Repeat("n", MaxFileName+1) },
		"name not UTF-8":     func(f *File) { f.Name = "\xff" },
		"type with newline":  func(f *File) { f.Type = "text/plain\n" },
		"negative expiry":    func(f *File) { f.ExpiresMs = -1 },
		"expiry after 9999":  func(f *File) { f.ExpiresMs = MaxTime + 1 },
		"larger than blobs":  func(f *File) { f.Size = MaxFileSize + 1 },
		"empty thumbnail":    func(f *File) { f.Thumbnail.Jpeg = nil },
		"large thumbnail":    func(f *File) { f.Thumbnail.Jpeg = make([]byte, MaxThumbnail+1) },
		"thumbnail too wide": func(f *File) { f.Thumbnail.Width = MaxThumbnailSide + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			f := file(nil)
			if err := checkFile(f, false); err != nil {
				t.Fatal(err)
			}
			spoil(f)
			if err := checkFile(f, false); !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestContentRules(t *testing.T) {
	receipt := func(n int) *Content {
		return &Content{Kind: Kind_KIND_RECEIPT, Body: &Content_Receipt{Receipt: &Receipt{
			State: ReceiptState_RECEIPT_STATE_READ, MessageIds: ids(n)}}}
	}
	for _, tc := range []struct {
		name string
		c    *Content
		want error
	}{
		{"text", text(1, "hi"), nil},
		{"largest text", text(1, strings.Repeat("x", MaxText)), nil},
		{"text too large", text(1, strings.Repeat("x", MaxText+1)), ErrMalformed},
		{"empty text", text(1, ""), ErrMalformed},
		{"text without counter", text(0, "hi"), ErrMalformed},
		{"not UTF-8", text(1, "\xff"), ErrMalformed},
		{"body of another kind", &Content{Kind: Kind_KIND_RECEIPT, Body: text(0, "x").Body}, ErrMalformed},
		{"receipt", receipt(100), nil},
		{"receipt of none", receipt(0), ErrMalformed},
		{"receipt of 101", receipt(101), ErrMalformed},
		{"receipt with an id twice", &Content{Kind: Kind_KIND_RECEIPT, Body: &Content_Receipt{Receipt: &Receipt{
			State: ReceiptState_RECEIPT_STATE_READ, MessageIds: append(ids(2), ids(1)...)}}}, ErrMalformed},
		{"retry with an id twice", &Content{Kind: Kind_KIND_RETRY, Body: &Content_Retry{Retry: &Retry{MessageIds: append(ids(99), ids(1)...)}}}, ErrMalformed},
		{"sync with an id twice", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x.example", What: &Sync_Read{Read: &Receipt{
			State: ReceiptState_RECEIPT_STATE_READ, MessageIds: append(ids(1), ids(1)...)}}}}}, ErrMalformed},
		{"receipt with counter", &Content{Kind: Kind_KIND_RECEIPT, N: 1, Body: receipt(1).Body}, ErrMalformed},
		{"sent in the year 10000", sentAt(MaxTime + 1), ErrMalformed},
		{"sent at the end of 9999", sentAt(MaxTime), nil},
		{"sent before 1970", sentAt(-1), ErrMalformed},
		{"sent at the end of int64", sentAt(math.MaxInt64), ErrMalformed},
		{"sent at the start of int64", sentAt(math.MinInt64), ErrMalformed},
		{"sent at a time that is not known", sentAt(0), nil},
		{"receipt in the year 10000", &Content{Kind: Kind_KIND_RECEIPT, SentMs: MaxTime + 1, Body: receipt(1).Body}, ErrMalformed},
		{"largest counter", text(MaxN, "hi"), nil},
		{"counter of 2^53", text(MaxN+1, "hi"), ErrMalformed},
		{"counter of 2^64-1", text(math.MaxUint64, "hi"), ErrMalformed},
		{"reserved kind", &Content{Kind: Kind_KIND_GROUP, N: 1}, ErrUnknownKind},
		{"kind of the future", &Content{Kind: 4711}, ErrUnknownKind},
		{"short id", &Content{Kind: Kind_KIND_RETRY, Body: &Content_Retry{Retry: &Retry{MessageIds: [][]byte{{1}}}}}, ErrMalformed},
		{"sync", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x", MessageId: ids(1)[0],
			What: &Sync_Sent{Sent: &Text{Text: "x"}}}}}, nil},
		{"file", &Content{Kind: Kind_KIND_FILE, N: 1, Body: &Content_File{File: file(nil)}}, nil},
		{"file without key", &Content{Kind: Kind_KIND_FILE, N: 1, Body: &Content_File{File: &File{Blob: "b", Sha256: make([]byte, 32)}}}, ErrMalformed},
		{"file with an id of its own", &Content{Kind: Kind_KIND_FILE, N: 1, Body: &Content_File{File: file(ids(1)[0])}}, ErrMalformed},
		{"file that is not counted", &Content{Kind: Kind_KIND_FILE, Body: &Content_File{File: file(nil)}}, ErrMalformed},
		{"files and no text", textWith("", file(ids(2)[0]), file(ids(2)[1])), nil},
		{"the same file id twice", textWith("", file(ids(1)[0]), file(ids(1)[0])), ErrMalformed},
		{"attached file without id", textWith("x", file(nil)), ErrMalformed},
		{"too many files", textWith("x", manyFiles(MaxFiles+1)...), ErrMalformed},
		{"most files", textWith("x", manyFiles(MaxFiles)...), nil},
		{"sync of a file", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x", MessageId: ids(1)[0],
			What: &Sync_SentFile{SentFile: file(nil)}}}}, nil},
		{"sync of nothing", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x"}}}, ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := proto.Marshal(tc.c)
			if err != nil { // a content that cannot be encoded cannot arrive
				if tc.want == nil {
					t.Fatal(err)
				}
				b = nil
			}
			if b != nil {
				got, err := Unmarshal(b)
				if !errors.Is(err, tc.want) {
					t.Fatalf("Unmarshal: %v, want %v", err, tc.want)
				}
				if tc.want == nil && !proto.Equal(got, tc.c) {
					t.Fatal("the decoded content differs")
				}
			}
			if _, err := Marshal(tc.c); (err == nil) != (tc.want == nil) {
				t.Fatalf("Marshal: %v, want %v", err, tc.want)
			}
		})
	}
}

// A small input must not become a large structure (attack B15, crypto/ATTACKS.md).
func TestManyEmptyIDsAreRefused(t *testing.T) {
	var inner []byte
	inner = protowire.AppendTag(inner, 1, protowire.VarintType)
	inner = protowire.AppendVarint(inner, 1)
	for range 30000 {
		inner = protowire.AppendTag(inner, 2, protowire.BytesType)
		inner = protowire.AppendBytes(inner, nil)
	}
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(Kind_KIND_RECEIPT))
	b = protowire.AppendTag(b, 11, protowire.BytesType)
	b = protowire.AppendBytes(b, inner)
	allocs := testing.AllocsPerRun(5, func() {
		if _, err := Unmarshal(b); !errors.Is(err, ErrMalformed) {
			t.Fatalf("got %v", err)
		}
	})
	if allocs > 50 {
		t.Fatalf("%v allocations for a refused content", allocs)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, c := range []*Content{text(1, "hello"), textWith("", file(ids(1)[0])), {Kind: Kind_KIND_FILE, N: 2, Body: &Content_File{File: file(nil)}}, {Kind: Kind_KIND_SESSION, Body: &Content_Session{Session: &Session{}}},
		callOf(offer()), callOf(candidates(2)), callOf(&Call{What: &Call_Restart{Restart: &CallRestart{Generation: 1, Sdp: "v=0"}}}), callOf(callEnd(CallReason_CALL_REASON_BUSY))} {
		b, err := Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Unmarshal(b)
		if err != nil {
			return
		}
		again, err := Marshal(c)
		if err != nil {
			t.Fatalf("accepted content does not encode: %v", err)
		}
		if c2, err := Unmarshal(again); err != nil || !proto.Equal(c, c2) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
