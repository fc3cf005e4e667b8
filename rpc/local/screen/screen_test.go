package screen

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"hello": "hello", "Grüße, 世界": "Grüße, 世界", "": "",
		"esc \x1b[31m":      `esc \x1b[31m`,
		"c1 \u009b del\x7f": `c1 \u009b del\x7f`,
		"bidi \u202e\u2066": `bidi \u202e\u2066`,
		"bad \xff":          `bad \xff`,
		"a\nb\tc":           `a\nb\tc`,
		// fillers and zero-width characters
		"a\u034fb": `a\u034fb`, "a\u115fb": `a\u115fb`, "a\u1160b": `a\u1160b`, "a\u3164b": `a\u3164b`, "a\uffa0b": `a\uffa0b`,
		"a\u17b4b": `a\u17b4b`, "a\U000e0101b": `a\U000e0101b`, "a\ufe0fb": `a\ufe0fb`, "a\u200bb": `a\u200bb`, "a\u2060b": `a\u2060b`,
		"a\ufeffb": `a\ufeffb`, "a\u00adb": `a\u00adb`, "a\u180eb": `a\u180eb`, "a\U000e0041b": `a\U000e0041b`,
		// joiners
		"a\u200db": `a\u200db`, "a\u200cb": `a\u200cb`, "name\u200d": `name\u200d`, "\u200cname": `\u200cname`,
		"می\u200cخواهم": "می\u200cخواهم", "می\u200c\u200cخواهم": `می\u200c\u200cخواهم`, "می\u200c": `می\u200c`,
		"क्\u200dष क्\u200cष": "क्\u200dष क्\u200cष", "ක්\u200dෂ": "ක්\u200dෂ",
		"👩\u200d💻": "👩\u200d💻", "👩🏽\u200d💻": "👩🏽\u200d💻", "🏳\ufe0f\u200d🌈": "🏳\ufe0f\u200d🌈", "👩\u200dx": `👩\u200dx`,
		// variants
		"❤\ufe0f 1\ufe0f\u20e3": "❤\ufe0f 1\ufe0f\u20e3", "❤\ufe0f\ufe0f": "❤\ufe0f" + `\ufe0f`, "葛\U000e0100城": "葛\U000e0100城",
		"\u06dd١": "\u06dd١",
		// combining marks
		"e\u0301":                         "e\u0301",
		"\u0301e":                         `\u0301e`,
		"e" + strings.Repeat("\u0301", 9): "e" + strings.Repeat("\u0301", 8) + `\u0301`,
		"שָׁ֑":                            "שָׁ֑",
	} {
		if want == `می\u200c\u200cخواهم` { // either of the two may be escaped
			if got := Line(in); got == in {
				t.Errorf("Line(%+q) = %+q", in, got)
			}
			continue
		}
		if got := Line(in); got != want {
			t.Errorf("Line(%+q) = %+q, want %+q", in, got, want)
		}
	}
	if got := Block("a\n\u0301\tb\r"); got != "a\n\\u0301\tb\\x0d" {
		t.Errorf("Block = %q", got)
	}
	zalgo := "x" + strings.Repeat("\u0300", 10_000)
	if n := strings.Count(Line(zalgo), "\u0300"); n != MaxMarks {
		t.Errorf("%d marks are left", n)
	}
	if got := Clean("می\u200cخواهم\u202e\u3164" + strings.Repeat("\u0300", 100)); got != "می\u200cخواهم"+strings.Repeat("\u0300", MaxMarks) {
		t.Errorf("Clean = %+q", got)
	}
}

// hidden reports whether a text contains anything that a terminal must not get.
func hidden(s string) bool {
	run := 0
	for _, r := range s {
		if unicode.Is(unicode.M, r) {
			run++
		} else if r != joiner && r != nonJoiner && !unicode.Is(unicode.Variation_Selector, r) {
			run = 0
		}
		if r != '\n' && r != '\t' && Acts(r) || run > 2*MaxMarks { // a selector is a mark too
			return true
		}
	}
	return false
}

func FuzzScreen(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[2J", "\u202e\u2066", "\xff", "a\u200db", "می\u200cخ", "👩\u200d💻", "e\u0301\u0301", "\u0301", "❤\ufe0f", "1\ufe0f\u20e3", "\U000e0001", "क्\u200dष", "\u200d\u0301\u200c"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, in string, cut int) {
		line, block, clean := Line(in), Block(in), Clean(in)
		for _, out := range []string{line, block, clean} {
			if !utf8.ValidString(out) || hidden(out) {
				t.Fatalf("%+q became %+q", in, out)
			}
		}
		if strings.ContainsAny(line, "\n\r\t\x1b") || strings.ContainsAny(block, "\r\x1b\x00") || strings.ContainsAny(clean, "\n\r\t\x1b") {
			t.Fatalf("%+q became %+q", in, line)
		}
		if Line(line) != line || Block(block) != block || Clean(clean) != clean {
			t.Fatalf("%+q: escaping twice gives another result: %+q, %+q", in, line, Line(line))
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		at := min(max(cut, 0), len(in))
		for _, part := range []string{in[:at], in[at:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil || out.String() != block {
			t.Fatalf("%+q cut at %d: %+q, want %+q", in, at, out.String(), block)
		}
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		safe := JSON(raw)
		var back, was string
		if json.Unmarshal(safe, &back) != nil || json.Unmarshal(raw, &was) != nil || back != was {
			t.Fatalf("JSON of %+q reads back as %+q", in, back)
		}
		if bytes.ContainsFunc(safe, func(r rune) bool { return Acts(r) || r == joiner || r == nonJoiner }) {
			t.Fatalf("JSON of %+q is %+q", in, safe)
		}
	})
}
