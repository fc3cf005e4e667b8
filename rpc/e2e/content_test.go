package e2e

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func text(n uint64, s string) *Content {
	return &Content{Kind: Kind_KIND_TEXT, N: n, Body: &Content_Text{Text: &Text{Text: s}}}
}

func ids(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Repeat([]byte{byte(i)}, IDSize)
	}
	return out
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
		{"receipt with counter", &Content{Kind: Kind_KIND_RECEIPT, N: 1, Body: receipt(1).Body}, ErrMalformed},
		{"reserved kind", &Content{Kind: Kind_KIND_GROUP, N: 1}, ErrUnknownKind},
		{"kind of the future", &Content{Kind: 4711}, ErrUnknownKind},
		{"short id", &Content{Kind: Kind_KIND_RETRY, Body: &Content_Retry{Retry: &Retry{MessageIds: [][]byte{{1}}}}}, ErrMalformed},
		{"sync", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x", MessageId: ids(1)[0],
			What: &Sync_Sent{Sent: &Text{Text: "x"}}}}}, nil},
		{"sync of nothing", &Content{Kind: Kind_KIND_SYNC, Body: &Content_Sync{Sync: &Sync{Peer: "bob@x"}}}, ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := proto.Marshal(tc.c)
			if err != nil { // what cannot even be encoded cannot arrive
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
					t.Fatal("content changed on its way")
				}
			}
			if _, err := Marshal(tc.c); (err == nil) != (tc.want == nil) {
				t.Fatalf("Marshal: %v, want %v", err, tc.want)
			}
		})
	}
}

// A small input must not become a large structure (attack B15).
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
	for _, c := range []*Content{text(1, "hello"), {Kind: Kind_KIND_SESSION, Body: &Content_Session{Session: &Session{}}}} {
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
