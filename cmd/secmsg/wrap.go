package main

import (
	"strings"

	"secmsg/rpc/local"
)

// wrapLeast is the smallest width at which lines are wrapped. Below it, hardly any text
// would fit after the mark.
const wrapLeast = 20

// forTerminal formats the text of an event for the width of a terminal. Text of a peer
// is wrapped here. The terminal would start the next line with any part of the text,
// and a peer could choose it to look like another event. Other events are left to the
// terminal, so that commands in them can be copied whole.
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

// headEnd returns the end of an event's head: time, name and mark. Neither time nor
// name can contain a mark.
func headEnd(line string) int {
	end := 0
	for _, mark := range []string{saysMark, tellsMark} {
		if i := strings.Index(line, mark); i >= 0 && (end == 0 || i+len(mark) < end) {
			end = i + len(mark)
		}
	}
	return end
}

// wrapLine breaks a line so that no part is wider than columns; further parts start
// with furtherMark. It prefers to break after a space, and never breaks inside the
// head, which the program wrote and which may be wider.
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

// columnsMost is the maximum number of columns of a character on a terminal. An
// estimate that is too high only breaks a line early, so no table of widths is needed.
func columnsMost(r rune) int {
	switch {
	case r == '\t':
		return 8
	case r < 0x1100: // wide characters begin with Hangul Jamo
		return 1
	}
	return 2
}
