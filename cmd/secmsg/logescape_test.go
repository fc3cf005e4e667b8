package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"secmsg/rpc/admin"

	"secmsg/rpc/local/screen"
)

// hostileText is text that another party may get into an error: escape sequences in 7 and
// 8 bits, DEL, bidirectional controls, invisible characters, line ends.
func hostileText() string {
	return "a\x1b[2Jb\u009b2Jc\x7fd\u202ee\u2066f\u200fg\ufeffh\u2028i\u0085j\nk\rl\x00m\U000e0041n\xffo"
}

type hostileStringer struct{}

func (hostileStringer) String() string { return hostileText() }

// TestLogIsSafeToLookAt puts hostile text into every part of a log record, in both
// formats, with and without journal priorities.
func TestLogIsSafeToLookAt(t *testing.T) {
	log := func(l *slog.Logger) {
		bad := hostileText()
		l.With("with"+bad, bad).WithGroup("group"+bad).Warn("message "+bad,
			"string", bad, "key"+bad, 1, "error", fmt.Errorf("wrapped: %w", errors.New(bad)), "stringer", hostileStringer{},
			"bytes", []byte(bad), "list", []string{bad}, "map", map[string]string{bad: bad}, "struct", struct{ A string }{bad},
			slog.Group("inner"+bad, "x", bad))
	}
	for _, asJSON := range []bool{false, true} {
		format := logFormat(asJSON, &slog.HandlerOptions{Level: slog.LevelDebug})
		for name, make := range map[string]func(io.Writer) slog.Handler{
			"plain":   format,
			"journal": func(w io.Writer) slog.Handler { return newJournalHandler(w, format) },
		} {
			var out bytes.Buffer
			log(slog.New(make(&out)))
			text := out.String()
			line, ended := strings.CutSuffix(text, "\n")
			if !ended || !utf8.ValidString(text) {
				t.Errorf("json %v, %s: %q", asJSON, name, text)
			}
			for i, r := range line {
				if screen.Acts(r) {
					t.Errorf("json %v, %s: %U at %d of %q", asJSON, name, r, i, line)
					break
				}
			}
			if asJSON {
				var record map[string]any
				if err := json.Unmarshal([]byte(strings.TrimPrefix(line, priorityWarning)), &record); err != nil {
					t.Errorf("%s: %v in %s", name, err, line)
				}
				if want := strings.ToValidUTF8("message "+hostileText(), "\ufffd"); record["msg"] != want {
					t.Errorf("%s: the message became %q", name, record["msg"])
				}
			}
		}
	}
}

// TestAdminOutputIsSafeToLookAt prints statistics and checks with hostile text.
func TestAdminOutputIsSafeToLookAt(t *testing.T) {
	bad := strings.ToValidUTF8(hostileText(), "?")
	for _, output := range []string{"text", outputJSON} {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		a := &adminApp{app: newApp(nil, nil, f, f)}
		a.output = output
		checks := []admin.Check{{Name: "blobs" + bad, OK: false, Message: bad}}
		err = errors.Join(
			a.printStats(admin.Stats{Checks: checks, Warnings: []string{bad}, Counters: map[string]map[string]int64{bad: {bad: 1}}}),
			a.printChecked(checked{false, checks, []string{bad}}), f.Close())
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(f.Name())
		if err != nil || len(text) < 100 {
			t.Fatalf("%q, %v", text, err)
		}
		for _, r := range string(text) {
			if screen.Acts(r) && r != '\n' {
				t.Errorf("%s: %U in %q", output, r, text)
				break
			}
		}
		if lines := strings.Count(string(text), "\n"); output == "text" && lines != 8 {
			t.Errorf("%d lines: %q", lines, text)
		}
	}
}
