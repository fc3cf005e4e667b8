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
	for _, peer := range []string{"alice", "alice@chat.example.com", "ally"} {
		if got, err := expectedNumber(text, peer); err != nil || got != digits {
			t.Errorf("%s: %q, %v", peer, got, err)
		}
	}
	for s, peer := range map[string]string{
		text: "bob@chat.example.com", strings.Replace(text, "verify", "join", 1): "alice", text[:len(text)-1]: "alice", "secmsg://x": "alice",
	} {
		if _, err := expectedNumber(s, peer); !isCode(err, local.CodeUsage) {
			t.Errorf("%s for %s: %v", s, peer, err)
		}
	}
}
