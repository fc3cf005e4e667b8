package main

import (
	"fmt"
	"regexp"
	"strings"
)

// kind is the kind of a line of the picture.
type kind string

const (
	comment kind = "comment" // a heading of the demo
	command kind = "command"
	output  kind = "output"
	blank   kind = "blank"
)

// line is one line of the picture.
type line struct {
	kind   kind
	prompt string // of a command
	text   string
}

// act is a part of the demo: the beginning of its heading, and words that identify the commands to
// leave out.
type act struct {
	heading string
	without []string
}

// story lists the parts of the demo in the picture.
func story() []act {
	return []act{
		{heading: "Two people join.", without: []string{"mallory"}},
		{heading: "One wrong digit is refused."},
		{heading: "A message, from a pipe.", without: []string{"-o json"}},
		{heading: "The server dies by kill -9", without: []string{"--count 7"}},
		{heading: "A directory, through pipes", without: []string{"kill -9", "serverd run", "file list"}},
	}
}

// step is a command of the demo and its output.
type step struct {
	command string
	output  []string
}

// acts splits a transcript into its headings and the steps below each.
func acts(transcript string) (headings []string, steps map[string][]step) {
	steps = map[string][]step{}
	heading := ""
	for l := range strings.Lines(transcript) {
		l = strings.TrimRight(l, "\n")
		list := steps[heading]
		switch {
		case strings.HasPrefix(l, "# "):
			heading = strings.TrimPrefix(l, "# ")
			headings = append(headings, heading)
		case heading == "" || l == "":
		case strings.HasPrefix(l, "$ "):
			steps[heading] = append(list, step{command: strings.TrimPrefix(l, "$ ")})
		case len(list) > 0:
			last := &list[len(list)-1]
			last.output = append(last.output, strings.TrimPrefix(l, "  "))
		}
	}
	return headings, steps
}

// selected returns the lines of the acts of a story. An act that the transcript
// does not have is an error: the demo has changed, and the story must follow.
func selected(transcript string, story []act) ([]line, error) {
	headings, steps := acts(normalised(transcript))
	var out []line
	for _, a := range story {
		found := false
		for _, h := range headings {
			if !strings.HasPrefix(h, a.heading) {
				continue
			}
			found = true
			if len(out) > 0 {
				out = append(out, line{kind: blank})
			}
			out = append(out, wrap(line{kind: comment, text: "# " + h})...)
			for _, s := range steps[h] {
				if !a.leavesOut(s.command) {
					out = append(out, s.lines()...)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("scripts/demo has no part %q", a.heading)
		}
	}
	return out, nil
}

func (a act) leavesOut(command string) bool {
	for _, words := range a.without {
		if strings.Contains(command, words) {
			return true
		}
	}
	return false
}

// lines returns the lines of a step in the picture.
func (s step) lines() []line {
	prompt := "$"
	for home, name := range map[string]string{" --home A": "alice$", " --home B": "bob$"} {
		if strings.Contains(s.command, home) {
			s.command, prompt = strings.Replace(s.command, home, "", 1), name
		}
	}
	out := wrap(line{kind: command, prompt: prompt, text: s.command})
	for _, o := range s.output {
		out = append(out, wrap(line{kind: output, text: o})...)
	}
	return out
}

// columns is the width of the terminal.
const columns = 96

// wrap breaks a long line, at a space if there is one, and indents the rest.
func wrap(l line) []line {
	indent := ""
	var out []line
	for {
		room := columns - len(indent)
		if l.prompt != "" {
			room -= len(l.prompt) + 1
		}
		if len(l.text) <= room {
			l.text = indent + l.text
			return append(out, l)
		}
		end := room - 2 // for the backslash
		if i := strings.LastIndexByte(l.text[:end+1], ' '); i > end/2 {
			end = i
		}
		first := l
		first.text = indent + strings.TrimRight(l.text[:end], " ")
		if l.kind == command {
			first.text += ` \`
		}
		out = append(out, first)
		l.text, l.prompt = strings.TrimLeft(l.text[end:], " "), ""
		if indent = "  "; l.kind == comment {
			indent = "# "
		}
	}
}

// Patterns of text that differs between two runs.
var (
	uuids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times     = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	invites   = regexp.MustCompile(`join#[\w-]+\.[\w-]+`)
	addresses = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	keys      = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	numbers   = regexp.MustCompile(`\b\d{60}\b`)
	groups    = regexp.MustCompile(`(?m)^(?:\d{5} ){3}\d{5}$`)
	pids      = regexp.MustCompile(`(pid |kill -9 )\d+`)
)

// safety is the safety number of the picture.
const safety = "281735508192740616358429074517936620185743961257083394615207"

// normalised replaces text that differs between two runs by fixed text. Different values stay
// different.
func normalised(s string) string {
	s = replaced(s, uuids, func(n int) string { return fmt.Sprintf("019ad8f0-5c00-7000-8000-%012d", n) })
	s = times.ReplaceAllString(s, "2026-12-01T09:30:00.000Z") // the number of different times is random
	s = invites.ReplaceAllString(s, "join#INVITE")
	s = addresses.ReplaceAllString(s, "127.0.0.1:8443")
	s = replaced(s, keys, func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", 0x50+n), 32) })
	// The demo prints the correct number first.
	s = replaced(s, numbers, func(n int) string {
		return safety[:len(safety)-1] + string(rune('0'+(int(safety[len(safety)-1]-'0')+n-1)%10))
	})
	row := 0
	s = groups.ReplaceAllStringFunc(s, func(string) string {
		part := safety[20*(row%3) : 20*(row%3)+20]
		row++
		return part[:5] + " " + part[5:10] + " " + part[10:15] + " " + part[15:]
	})
	return pids.ReplaceAllString(s, "${1}4242")
}

// replaced replaces each distinct match by what with gives for its number, from 1.
func replaced(s string, what *regexp.Regexp, with func(n int) string) string {
	seen := map[string]string{}
	return what.ReplaceAllStringFunc(s, func(m string) string {
		if seen[m] == "" {
			seen[m] = with(len(seen) + 1)
		}
		return seen[m]
	})
}
