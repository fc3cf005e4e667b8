package screen

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes a text safe for one line of a terminal. Newline and tab become \n and \t, so that one
// record stays one line.
func Line(s string) string { return show(s, "") }

// Block is Line for text of several lines: newlines and tabs stay. Carriage returns do not, because
// they overwrite the text before them.
func Block(s string) string { return show(s, blockKeep) }

const blockKeep = "\n\t"

func show(s, keep string) string {
	if plain(s, keep) == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	var at state
	at.show(&b, s, keep)
	return b.String()
}

// show writes s to b.
func (at *state) show(b *strings.Builder, s, keep string) {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(b, `\x%02x`, s[i])
			at.escaped(r)
		case r < utf8.RuneSelf && has(keep, byte(r)) || at.takes(r, after(s[i+size:])):
			b.WriteString(s[i : i+size])
			at.shown(r)
		default:
			escape(b, r)
			at.escaped(r)
		}
		i += size
	}
}

func escape(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < utf8.RuneSelf:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// Clean removes the characters of s that Line would escape, for use in the name of a file. Cleaning a
// clean text does not change it.
func Clean(s string) string {
	if plain(s, "") == len(s) {
		return s
	}
	var b strings.Builder
	var at state
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !(r == utf8.RuneError && size == 1) && at.takes(r, after(s[i+size:])) {
			b.WriteString(s[i : i+size])
			at.shown(r)
		}
		i += size
	}
	return b.String()
}

// JSON rewrites as \u escapes the characters that encoding/json leaves as they are but that a terminal
// acts on, or that are invisible. In valid JSON they occur only inside strings, so the value stays the
// same. It returns b itself if there is nothing to do.
func JSON(b []byte) []byte {
	first := bytes.IndexFunc(b, func(r rune) bool { return r >= 0x7f })
	if first < 0 {
		return b
	}
	var out []byte
	marks := 0
	for i := first; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		hidden := r >= 0x7f && (Acts(r) || r == nonJoiner || r == joiner || unicode.Is(unicode.Variation_Selector, r))
		if r >= 0x7f && unicode.Is(unicode.M, r) {
			marks++
			hidden = hidden || marks > MaxMarks
		} else if !hidden {
			marks = 0
		}
		if hidden && out == nil {
			out = append(make([]byte, 0, len(b)+64), b[:i]...)
		}
		switch {
		case !hidden:
			if out != nil {
				out = append(out, b[i:i+size]...)
			}
		case r <= 0xffff:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		}
		i += size
	}
	if out == nil {
		return b
	}
	return out
}

// Writer escapes text as Block does, regardless of the pieces in which it arrives.
type Writer struct {
	w    io.Writer
	at   state
	rest []byte // the start of a character, or text that depends on the next character
}

// NewWriter creates a Writer. The caller must Flush it at the end.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	b := append(w.rest, p...)
	whole := settled(b)
	if err := w.put(string(b[:whole])); err != nil {
		return 0, err
	}
	w.rest = append([]byte(nil), b[whole:]...)
	return len(p), nil
}

// Flush writes the rest: a text may end in the middle of a character.
func (w *Writer) Flush() error {
	err := w.put(string(w.rest))
	w.rest = nil
	return err
}

func (w *Writer) put(s string) error {
	var b strings.Builder
	w.at.show(&b, s, blockKeep)
	_, err := io.WriteString(w.w, b.String())
	return err
}

// settled returns how many bytes of b do not depend on later text: all except the beginning of a
// character and a joiner before it.
func settled(b []byte) int {
	whole := len(b)
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if utf8.RuneStart(b[len(b)-back]) {
			if !utf8.FullRune(b[len(b)-back:]) {
				whole = len(b) - back
			}
			break
		}
	}
	if r, size := utf8.DecodeLastRune(b[:whole]); r == joiner || r == nonJoiner {
		whole -= size
	}
	return whole
}
