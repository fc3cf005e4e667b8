package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"secmsg/rpc/local/screen"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"hello":                       "hello",
		"Grüße, 世界 👩‍💻":               "Grüße, 世界 👩‍💻",
		"a\x1b[31mred":                `a\x1b[31mred`,
		"title\x1b]0;owned\x07":       `title\x1b]0;owned\x07`,
		"back\b\b\bspace":             `back\x08\x08\x08space`,
		"over\rwritten":               `over\x0dwritten`,
		"two\nlines\tand a tab":       `two\nlines\tand a tab`,
		"csi \u009b31m":               `csi \u009b31m`,
		"del\x7f":                     `del\x7f`,
		"user \u202egnp.exe":          `user \u202egnp.exe`,
		"isolate \u2066x\u2069":       `isolate \u2066x\u2069`,
		"mark\u200f":                  `mark\u200f`,
		"line\u2028sep":               `line\u2028sep`,
		"tag \U000e0041":              `tag \U000e0041`,
		"bad \xff\xfe utf8":           `bad \xff\xfe utf8`,
		"replacement \ufffd is plain": "replacement \ufffd is plain",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got := visibleBlock("a\n\tb\rc\x1b"); got != "a\n\tb"+`\x0dc\x1b` {
		t.Errorf("visibleBlock = %q", got)
	}
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[2J", "\u202e\u2066", "\xff", "a\u200db", "\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := visible(in)
		if !utf8.ValidString(out) {
			t.Fatalf("%q became invalid UTF-8 %q", in, out)
		}
		for _, r := range out {
			if screen.Acts(r) {
				t.Fatalf("%q keeps %U", in, r)
			}
		}
		if strings.ContainsAny(out, "\n\r\t\x1b") {
			t.Fatalf("%q became %q", in, out)
		}
		if visible(out) != out {
			t.Fatalf("not idempotent: %q", out)
		}
		if block := visibleBlock(in); strings.ContainsAny(block, "\r\x1b\x00") {
			t.Fatalf("%q became %q", in, block)
		}
		line, err := marshalLine(map[string]string{"text": in})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range strings.TrimSuffix(string(line), "\n") {
			if screen.Acts(r) {
				t.Fatalf("JSON of %q keeps %U", in, r)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(line, &back); err != nil || utf8.ValidString(in) && back["text"] != in {
			t.Fatalf("JSON of %q reads back as %q, %v", in, back["text"], err)
		}
	})
}
