package history

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
)

// Every kind either comes back from its row as it was or is refused.
func TestContentOfRefusesOtherKinds(t *testing.T) {
	known := map[e2e.Kind]*e2e.Content{
		e2e.Kind_KIND_TEXT: {Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: &e2e.Text{Text: "hello"}}},
		e2e.Kind_KIND_FILE: {Kind: e2e.Kind_KIND_FILE, Body: &e2e.Content_File{File: &e2e.File{Name: "a.txt"}}},
	}
	for number := range e2e.Kind_name {
		kind := e2e.Kind(number)
		want := known[kind]
		body, err := BodyOf(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ContentOf(&store.Message{Kind: number, Body: body})
		switch {
		case want == nil && (got != nil || !errors.Is(err, ErrKind)):
			t.Errorf("%s: %v, %v; want ErrKind", kind, got, err)
		case want != nil && (err != nil || !proto.Equal(got, want)):
			t.Errorf("%s: %v, %v; want %v", kind, got, err, want)
		}
	}
	if got, err := ContentOf(&store.Message{Kind: 1 << 20}); got != nil || !errors.Is(err, ErrKind) {
		t.Errorf("a kind without a name: %v, %v; want ErrKind", got, err)
	}
}
