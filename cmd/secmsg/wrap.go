package main

import (
	"strings"

	"secmsg/rpc/local"
)

// wrapLeast is the width under which lines are not wrapped: hardly anything would
// stand behind the mark.
const wrapLeast = 20

// forTerminal is the text of an event for a terminal of a width. What a peer
// wrote is wrapped here, since the terminal would begin its further lines with
// whatever the peer chose, such as the time and name of another event. The rest is
// left to the terminal: commands to type stay whole.
func forTerminal(e *local.Event, text string, columns int) string {
	if columns < wrapLeast || e.Message == nil && e.File == nil && e.FileState == nil {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = wrapLine(line, columns)
	}
	return strings.Join(lines, "\n")
}

// wrapLine breaks a line so that none is wider than columns; those that follow
// stand behind furtherMark. It breaks behind a space where one is near.
func wrapLine(line string, columns int) string {
	var b strings.Builder
	for room := columns; ; room = columns - len(furtherMark) {
		end, space, used := len(line), 0, 0
		for i, r := range line {
			if used += columnsMost(r); used > room {
				end = i
				break
			}
			if r == ' ' && used > room/2 {
				space = i + 1
			}
		}
		if end == len(line) {
			b.WriteString(line)
			return b.String()
		}
		if space > 0 && line[end] != ' ' {
			end = space
		}
		b.WriteString(line[:end] + "\n" + furtherMark)
		line = line[end:]
	}
}

// columnsMost is how many columns a terminal gives a character at most. Too many
// is harmless here, too few is not, so that no table of widths is needed.
func columnsMost(r rune) int {
	switch {
	case r == '\t':
		return 8
	case r < 0x1100: // the first characters that are wide are Korean
		return 1
	}
	return 2
}
