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
		head := 0
		if i == 0 {
			head = headEnd(line)
		}
		lines[i] = wrapLine(line, head, columns)
	}
	return strings.Join(lines, "\n")
}

// headEnd is where the time and the name end that an event begins with; neither
// has a mark in it.
func headEnd(line string) int {
	end := 0
	for _, mark := range []string{saysMark, tellsMark} {
		if i := strings.Index(line, mark); i >= 0 && (end == 0 || i+len(mark) < end) {
			end = i + len(mark)
		}
	}
	return end
}

// wrapLine breaks a line so that none is wider than columns; those that follow
// stand behind furtherMark. It breaks behind a space where one is near, and not
// before the end of the head, which is this program's own and may be wider.
func wrapLine(line string, head, columns int) string {
	var b strings.Builder
	for room := columns; ; room = columns - len(furtherMark) {
		end, space, used := len(line), 0, 0
		for i, r := range line {
			if used += columnsMost(r); used > room {
				end = i
				break
			}
			if r == ' ' && used > room/2 && i >= head {
				space = i + 1
			}
		}
		if max(end, head) == len(line) {
			b.WriteString(line)
			return b.String()
		}
		if space > 0 && line[end] != ' ' {
			end = space
		}
		end = max(end, head)
		head = 0
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
