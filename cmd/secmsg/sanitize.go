package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible makes a text that a peer wrote safe for a terminal: control
// characters, the bytes of escape sequences, characters that change the
// direction of text and invalid UTF-8 are shown as escapes instead of acting.
// Newline and tab become \n and \t, so that one record stays one line.
func visible(s string) string { return sanitize(s, "") }

// visibleBlock is visible for text that may take several lines: newlines and
// tabs stay. A carriage return does not, since it overwrites what stands before it.
func visibleBlock(s string) string { return sanitize(s, "\n\t") }

func sanitize(s, keep string) string {
	if isPlain(s, keep) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unsafeRune(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// isPlain reports whether s can be printed as it is, which nearly all text can.
func isPlain(s, keep string) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
		if unsafeRune(r) && !strings.ContainsRune(keep, r) {
			return false
		}
	}
	return true
}

// unsafeRune reports whether a terminal, or the eye, would be misled by r: C0
// and C1 controls, DEL, line and paragraph separators, and the format
// characters (bidi overrides and isolates, invisible marks, tags). Zero-width
// joiner and non-joiner stay: scripts and emoji need them.
func unsafeRune(r rune) bool {
	switch {
	case r == 0x200c || r == 0x200d:
		return false
	case unicode.IsControl(r), r == 0x2028, r == 0x2029:
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// escapeFormat rewrites the characters that encoding/json leaves as they are
// but a terminal acts on (DEL, C1 controls, format characters) as \u escapes.
// In valid JSON they stand only inside strings, so the value stays the same.
func escapeFormat(b []byte) []byte {
	first := bytes.IndexFunc(b, func(r rune) bool { return unsafeRune(r) })
	if first < 0 {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	out = append(out, b[:first]...)
	for i := first; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case !unsafeRune(r):
			out = append(out, b[i:i+size]...)
		case r <= 0xffff:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		}
		i += size
	}
	return out
}
