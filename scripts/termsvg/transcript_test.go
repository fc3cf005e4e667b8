package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// sample is a small version of the demo's output.
const sample = `
# One binary does it all.

# Two people join. Their keys stay.

$ secmsg --home A join secmsg://127.0.0.1:20673/join#pPUIvhC505.Pf3Bi0n-Yx_J --name alice
alice@localhost

$ secmsg --home C join secmsg://127.0.0.1:20673/join#pPUIvhC505.Pf3Bi0n-Yx_J --name mallory
  secmsg: the invite is unknown, used, expired or revoked
  (exit 10)

# Messages.

$ secmsg --home A send bob one
01a231e7-87bc-7c5c-a69d-85df8ee9477c bob@localhost accepted

$ secmsg --home B inbox
2026-12-01T13:59:46.799Z alice@localhost: <one> & "only"
`

func show(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimSpace(string(l.kind)+" "+l.prompt) + ": " + l.text + "\n")
	}
	return b.String()
}

func TestSelected(t *testing.T) {
	got, err := selected(sample, []act{{heading: "Two people", without: []string{"mallory"}}, {heading: "Messages."}})
	if err != nil {
		t.Fatal(err)
	}
	want := `comment: # Two people join. Their keys stay.
command alice$: secmsg join secmsg://127.0.0.1:8443/join#INVITE --name alice
output: alice@localhost
blank: 
comment: # Messages.
command alice$: secmsg send bob one
output: 019ad8f0-5c00-7000-8000-000000000001 bob@localhost accepted
command bob$: secmsg inbox
output: 2026-12-01T09:30:00.000Z alice@localhost: <one> & "only"
`
	if show(got) != want {
		t.Errorf("got\n%swant\n%s", show(got), want)
	}
	if _, err := selected(sample, []act{{heading: "No such part"}}); err == nil {
		t.Error("a part that is not there is no error")
	}
}

func TestNormalised(t *testing.T) {
	right, wrong := strings.Repeat("5", 60), strings.Repeat("5", 59)+"6"
	got := normalised("safety " + right + "\nexpect " + wrong + "\nexpect " + right +
		"\n55555 55555 55555 55555\n55555 55555 55555 55555\n55555 55555 55555 55555\nthe daemon, pid 77, was stopped\nkill -9 78\n")
	words := strings.Fields(got)
	if words[1] != safety || words[5] != safety || words[3] == safety || words[3][:59] != safety[:59] {
		t.Errorf("numbers:\n%s", got)
	}
	if strings.Join(words[6:18], "") != safety {
		t.Errorf("groups:\n%s", got)
	}
	if !strings.HasSuffix(got, "pid 4242, was stopped\nkill -9 4242\n") {
		t.Errorf("processes:\n%s", got)
	}
}

func TestWrap(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("word ", 60))
	for _, k := range []kind{command, output, comment} {
		var words []string
		for i, l := range wrap(line{kind: k, prompt: "bob$", text: long}) {
			if n := len(l.prompt) + len(l.text); n >= columns || i > 0 && l.prompt != "" {
				t.Errorf("%d columns: %q %q", n, l.prompt, l.text)
			}
			words = append(words, strings.Fields(strings.Trim(l.text, `#\ `))...)
		}
		if strings.Join(words, " ") != long {
			t.Errorf("%s: %q", k, words)
		}
	}
}

// TestDraw: a picture is XML with the text of each line, and the same each time.
func TestDraw(t *testing.T) {
	lines, err := selected(sample, []act{{heading: "Messages."}})
	if err != nil {
		t.Fatal(err)
	}
	picture := draw(lines)
	if string(draw(lines)) != string(picture) {
		t.Error("two pictures of the same lines differ")
	}
	var text strings.Builder
	for d := xml.NewDecoder(strings.NewReader(string(picture))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := token.(xml.CharData); ok {
			text.Write(c)
		}
	}
	for _, l := range lines {
		if !strings.Contains(text.String(), l.text) {
			t.Errorf("%q is not in the picture", l.text)
		}
	}
}

// TestStoryIsOfTheDemo detects a part of the demo that was renamed without a change of the picture's
// story.
func TestStoryIsOfTheDemo(t *testing.T) {
	demo, err := os.ReadFile("../demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range story() {
		if !strings.Contains(string(demo), "\nsay '"+a.heading) {
			t.Errorf("scripts/demo has no part %q", a.heading)
		}
	}
}
