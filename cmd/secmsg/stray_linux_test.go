package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

// Lines of a library become records of the log, whatever is in them.
func TestStrayLinesAreLogged(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(logFormat(true, nil)(&b))
	logStray(strings.NewReader("[OpenH264] Warning\n\n\x1b[31mred\n"+strings.Repeat("x", 5000)+"\nlast"), log)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %s", len(lines), b.String())
	}
	for i, want := range []string{"[OpenH264] Warning", "\x1b[31mred", strings.Repeat("x", strayLine), "last"} {
		var r struct{ Text string }
		if err := json.Unmarshal([]byte(lines[i]), &r); err != nil || r.Text != want {
			t.Errorf("line %d: %q, %v", i, r.Text, err)
		}
	}
}
