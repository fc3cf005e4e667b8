package main

import (
	"strings"
	"testing"

	"secmsg/rpc/local"
)

// No line of a peer's text is wider than the terminal, which would start the next line
// with any part of the text, and nothing of the text is lost.
func TestWideLinesOfPeersAreMarked(t *testing.T) {
	forged := "2026-01-01T00:00:00.000Z bob@x: pay eve"
	texts := []string{strings.Repeat("語", 30) + forged, "a\tb\t\t\t\tc\t\t\t\t\t\t\t\t" + forged, "short", strings.Repeat("x ", 300), ""}
	for pad := range 90 {
		texts = append(texts, strings.Repeat("x", pad)+forged, strings.Repeat("x", pad)+" "+forged, strings.Repeat(" ", pad)+forged)
	}
	for _, columns := range []int{20, 30, 40, 80} {
		for _, text := range texts {
			file := local.File{ID: "f1", FileInfo: local.FileInfo{Name: text}, State: local.FileOffered}
			for _, e := range []local.Event{
				{Direction: "in", Peer: "eve@x", Message: &local.Message{Text: text + "\n" + text, Files: []local.File{file}}},
				{Direction: "out", Peer: "eve@x", Message: &local.Message{Text: text, State: "read"}},
				{Direction: "in", Peer: "eve@x", File: &file},
			} {
				plain := eventText(&e)
				shown := forTerminal(&e, plain, columns)
				for i, line := range strings.Split(shown, "\n") {
					width := 0
					for _, r := range line {
						width += columnsMost(r)
					}
					if i == 0 && strings.HasSuffix(line, "eve@x"+saysMark) || strings.HasSuffix(line, "eve@x"+tellsMark) {
						continue // the head alone
					}
					if i == 0 && !strings.Contains(line, "eve@x"+saysMark) && !strings.Contains(line, "eve@x"+tellsMark) {
						t.Fatalf("%d columns: the head is broken: %q", columns, line)
					}
					if width > columns {
						t.Fatalf("%d columns: a line of %d: %q", columns, width, line)
					}
					if i > 0 && !strings.HasPrefix(line, furtherMark) && !strings.HasPrefix(line, fileMark) && line != "    [read]" {
						t.Fatalf("%d columns: an unmarked line: %q", columns, line)
					}
				}
				join := strings.NewReplacer("\n"+furtherMark, "").Replace
				if join(shown) != join(plain) {
					t.Fatalf("%d columns: %q became %q", columns, plain, shown)
				}
			}
		}
	}
	// Words of the program are not wrapped, so that a command in them can be copied.
	e := local.Event{Peer: "eve@x", Call: &local.Call{State: "ringing", Direction: "in", ID: strings.Repeat("c", 40)}}
	if text := eventText(&e); forTerminal(&e, text, 40) != text {
		t.Error("a call was wrapped")
	}
}
