package main

import (
	"strings"
	"testing"

	"secmsg/rpc/local"
)

// TestQR: a code fits a terminal of 80 x 24 with the number above it and a prompt
// below, and its text is what --expect takes.
func TestQR(t *testing.T) {
	digits := strings.Repeat("01234", 12)
	text := "secmsg://chat.example.com/verify#alice." + digits
	lines, err := qrLines(text)
	if err != nil {
		t.Fatal(err)
	}
	if qrWidth(lines) > 80 || len(lines)+3 > 24 {
		t.Errorf("%d columns, %d lines", qrWidth(lines), len(lines))
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, qrColors) || !strings.HasSuffix(line, qrPlain) {
			t.Errorf("the terminal's own colours are used: %q", line)
		}
	}
	if shown, got, err := expectedNumber(text); err != nil || got != digits || shown != "alice@chat.example.com" {
		t.Errorf("%q of %q, %v", got, shown, err)
	}
	for _, s := range []string{strings.Replace(text, "verify", "join", 1), text[:len(text)-1], "secmsg://x", "secmsg://chat.example.com/verify#alice"} {
		if _, _, err := expectedNumber(s); !isCode(err, local.CodeUsage) {
			t.Errorf("%s: %v", s, err)
		}
	}
}
