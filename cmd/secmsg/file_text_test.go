package main

import (
	"bytes"
	"strings"
	"testing"

	"secmsg/rpc/local"
	"secmsg/rpc/local/screen"
)

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "?", 0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 10_189: "10 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		3 << 19: "1.5 MiB", 100 << 20: "100 MiB", 1 << 30: "1.0 GiB", 5 << 40: "5.0 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// However a peer's text is split into reads, none of it may control the terminal and
// nothing may be lost.
func TestVisibleWriterAtEveryCut(t *testing.T) {
	const text = "plain ä € 𝄞\nred \x1b[31m \u202e txt.exe \x9b \xff\xfe end €"
	want := visibleBlock(text)
	for cut := range len(text) {
		for _, step := range []int{1, 2, 3, len(text)} {
			var out bytes.Buffer
			w := screen.NewWriter(&out)
			for rest := text[cut:]; rest != ""; {
				n := min(step, len(rest))
				if _, err := w.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if expect := visibleBlock(text[cut:]); out.String() != expect {
				t.Fatalf("from %d by %d: %q, want %q", cut, step, out.String(), expect)
			}
		}
	}
	if strings.ContainsRune(want, 0x1b) {
		t.Fatal("an escape stays")
	}
}

// The text of files in listen, inbox and history. A file name cannot look like a separate
// line.
func TestFileEventText(t *testing.T) {
	file := func(f local.File) *local.Event {
		return &local.Event{ID: "0198", Type: local.TypeFile, Peer: "bob@x", Direction: local.DirectionIn, File: &f}
	}
	info := local.FileInfo{Name: "a\nb\x1b[2J.pdf", Size: 3 << 20, Type: "application/pdf"}
	for _, c := range []struct {
		e    *local.Event
		want string
	}{
		{file(local.File{FileInfo: info, State: local.FileOffered}), `- bob@x * file "a\nb\x1b[2J.pdf" (3.0 MiB, application/pdf); fetch with: secmsg file get 0198`},
		{file(local.File{FileInfo: info, State: local.FileFetched, Path: "/d/a\nb"}), `- bob@x * file "a\nb\x1b[2J.pdf" (3.0 MiB, application/pdf) saved as /d/a\nb`},
		{file(local.File{FileInfo: info, State: local.FileExpired}), `- bob@x * file "a\nb\x1b[2J.pdf" (3.0 MiB, application/pdf) expired`},
		{
			&local.Event{ID: "1", Peer: "bob@x", Direction: local.DirectionIn, Message: &local.Message{
				Text: "two\nlines", Files: []local.File{{ID: "f1", FileInfo: local.FileInfo{Name: "x", Size: 1}, State: local.FileOffered}},
			}},
			"- bob@x: two\n    | lines\n    * file \"x\" (1 B); fetch with: secmsg file get f1",
		},
		{
			&local.Event{ID: "1", Peer: "bob@x", Direction: local.DirectionOut, Message: &local.Message{
				State: local.StateAccepted, Files: []local.File{{ID: "f1", FileInfo: local.FileInfo{Name: "x", Size: 1}, State: local.StateAccepted}},
			}},
			"- -> bob@x * file \"x\" (1 B) [accepted]",
		},
	} {
		if got := eventText(c.e); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// Every state of a file is printed, alone and as part of a message; a failure has its
// reason.
func TestFileStatesText(t *testing.T) {
	const in, out = local.DirectionIn, local.DirectionOut
	why := local.Errorf(local.CodeIO, "the reason")
	for _, c := range []struct {
		direction, state, message string
		err                       *local.Error
		alone, attached           string
	}{
		{in, local.FileOffered, "", nil, "x; fetch with: secmsg file get f1", "x; fetch with: secmsg file get f1"},
		{in, local.FileFetching, "", nil, "x fetching", "x fetching"},
		{in, local.FileFetched, "", nil, "x fetched", "x fetched"},
		{in, local.FileExpired, "", nil, "x expired", "x expired"},
		{in, local.FileFailed, "", why, "x failed: the reason", "x failed: the reason"},
		{out, local.FileSending, local.StateQueued, nil, "x [sending]", "x sending [queued]"},
		{out, local.StateHeld, local.StateHeld, nil, "x [held]", "x [held]"},
		{out, local.StateRead, local.StateRead, nil, "x [read]", "x [read]"},
		{out, local.FileCancelled, local.StateAccepted, nil, "x [cancelled]", "x cancelled [accepted]"},
		{out, local.FileExpired, local.StateExpired, nil, "x [expired]", "x [expired]"},
		{out, local.FileFailed, local.StateFailed, why, "x [failed: the reason]", "x failed: the reason [failed]"},
	} {
		f := local.File{ID: "f1", FileInfo: local.FileInfo{Name: "x", Size: 1}, State: c.state, Error: c.err}
		text := func(e *local.Event) string {
			_, said, _ := strings.Cut(eventText(e), tellsMark)
			return strings.Replace(said, `file "x" (1 B)`, "x", 1)
		}
		// A later change of state is an event with its own id, different from the file's.
		if got := text(&local.Event{ID: "later", Type: local.TypeFile, Direction: c.direction, File: &f}); got != c.alone {
			t.Errorf("%s %s: %q, want %q", c.direction, c.state, got, c.alone)
		}
		m := &local.Message{State: c.message, Files: []local.File{f}}
		if got := text(&local.Event{ID: "m", Type: local.TypeMessage, Direction: c.direction, Message: m}); got != c.attached {
			t.Errorf("%s %s, in a message: %q, want %q", c.direction, c.state, got, c.attached)
		}
	}
}

func TestTextType(t *testing.T) {
	for typ, want := range map[string]bool{
		"text/plain; charset=utf-8": true, "application/json": true, "image/svg+xml": true, "application/ld+json": true,
		"": false, "application/pdf": false, "application/octet-stream": false, "image/png": false,
	} {
		if textType(typ) != want {
			t.Errorf("%q: text is %v", typ, !want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for s, want := range map[string]string{"src": "src", "a b": "'a b'", "it's": `'it'\''s'`, "-rf": "'-rf'", "": "''", "$(x)": "'$(x)'"} {
		if got := shellWord(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
}
