package screen

import (
	"unicode"
	"unicode/utf8"
)

// MaxMarks is how many combining marks one character may have. Languages need at most four (a Hebrew
// letter with point, vowel and cantillation); larger numbers serve only to cover the lines above and
// below.
const MaxMarks = 8

const (
	nonJoiner = 0x200c
	joiner    = 0x200d
)

// state describes the text before a character. The zero value is the start of a line.
type state struct {
	base  rune // the last character that is no mark, joiner or selector
	prev  rune
	marks int // marks on base
}

// takes reports whether r may be shown as it is, if next follows (0: nothing).
func (s *state) takes(r, next rune) bool {
	switch {
	case r == nonJoiner, r == joiner:
		return s.joins(r, next)
	case unicode.Is(unicode.Variation_Selector, r):
		return s.varies(r)
	case Acts(r):
		return false
	case unicode.Is(unicode.M, r):
		return s.prev != 0 && s.marks < MaxMarks
	}
	return true
}

// shown records that r was shown as it is.
func (s *state) shown(r rune) {
	switch {
	case r == '\n':
		*s = state{}
		return
	case r == nonJoiner, r == joiner, unicode.Is(unicode.Variation_Selector, r):
	case unicode.Is(unicode.M, r):
		s.marks++
	default:
		s.base, s.marks = r, 0
	}
	s.prev = r
}

// escaped records that r was replaced by an escape, which ends in a letter or digit.
func (s *state) escaped(r rune) {
	full := unicode.Is(unicode.M, r)
	*s = state{base: 'x', prev: 'x'}
	if full { // further marks would combine with the escape
		s.marks = MaxMarks
	}
}

// joins reports whether a joiner or non-joiner has a visible effect here.
func (s *state) joins(r, next rune) bool {
	if s.prev == nonJoiner || s.prev == joiner {
		return false
	}
	if r == joiner && emojiPart(s.prev) && unicode.Is(unicode.So, next) {
		return true
	}
	return unicode.In(s.base, joining()...) && unicode.In(next, joining()...) && unicode.IsLetter(next)
}

// varies reports whether a variation selector has an effect here.
func (s *state) varies(r rune) bool {
	if s.prev != s.base {
		return false // one selector is enough
	}
	switch {
	case r == 0xfe0e || r == 0xfe0f: // text and emoji presentation
		return emojiBase(s.base)
	case r >= 0xe0100: // ideographic variants, as in Japanese names
		return unicode.Is(unicode.Han, s.base)
	case r >= 0x180b && r <= 0x180f:
		return unicode.Is(unicode.Mongolian, s.base)
	}
	return false
}

// emojiPart reports whether an emoji may be joined to a sequence that ends with r.
func emojiPart(r rune) bool {
	return unicode.Is(unicode.So, r) || r == 0xfe0f || r >= 0x1f3fb && r <= 0x1f3ff // skin tones
}

// emojiBase reports whether r has an emoji presentation: symbols, and the characters of keycaps.
func emojiBase(r rune) bool {
	return unicode.In(r, unicode.So, unicode.Sm) || r >= '0' && r <= '9' || r == '#' || r == '*' ||
		r == 0x203c || r == 0x2049 || r == 0x3030 || r == 0x303d
}

// joining returns the scripts in which joiners have a visible effect.
func joining() []*unicode.RangeTable {
	return []*unicode.RangeTable{
		unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa, unicode.Manichaean,
		unicode.Psalter_Pahlavi, unicode.Hanifi_Rohingya, unicode.Sogdian, unicode.Adlam,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
		unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Tibetan, unicode.Myanmar, unicode.Khmer, unicode.Balinese,
		unicode.Javanese, unicode.Sundanese, unicode.Meetei_Mayek, unicode.Chakma, unicode.Tai_Tham, unicode.Lepcha,
		unicode.Saurashtra, unicode.Grantha, unicode.Newa, unicode.Tirhuta, unicode.Modi, unicode.Sharada, unicode.Khojki, unicode.Kaithi,
	}
}

// Acts reports whether r misleads a terminal or a reader in any position: controls, line separators,
// and characters with an effect but no glyph. Joiners and variation selectors depend on their
// neighbours and are not included.
func Acts(r rune) bool {
	switch {
	case r >= ' ' && r < 0x7f:
		return false
	case r == nonJoiner, r == joiner, unicode.Is(unicode.Variation_Selector, r):
		return false
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r): // such as U+06DD, which is visible
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// plain returns the number of bytes at the start of s that need no check: printable ASCII, and the
// bytes in keep.
func plain(s, keep string) int {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c >= 0x7f) && !has(keep, c) {
			return i
		}
	}
	return len(s)
}

func has(keep string, c byte) bool {
	for i := range len(keep) {
		if keep[i] == c {
			return true
		}
	}
	return false
}

// after returns the character at the start of s, or 0 if there is none.
func after(s string) rune {
	if r, size := utf8.DecodeRuneInString(s); r != utf8.RuneError || size > 1 {
		return r
	}
	return 0
}
