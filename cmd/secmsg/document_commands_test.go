package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsOfTheDemoPicture reads the picture of the README: it is well-formed, holds no
// script and nothing from elsewhere, and each command in it is one of this program.
func TestCommandsOfTheDemoPicture(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "scripts", "demo.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var commands []string
	class := ""
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			class = ""
			for _, a := range x.Attr {
				if a.Name.Local == "class" {
					class = a.Value
				}
				if a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("<%s %s=%q>", x.Name.Local, a.Name.Local, a.Value)
				}
			}
			if x.Name.Local == "script" || x.Name.Local == "image" || x.Name.Local == "foreignObject" {
				t.Errorf("<%s>", x.Name.Local)
			}
		case xml.EndElement:
			class = ""
		case xml.CharData:
			if class != "command" {
				continue
			}
			if n := len(commands); n > 0 && strings.HasSuffix(commands[n-1], ` \`) {
				commands[n-1] = strings.TrimSuffix(commands[n-1], `\`) + strings.TrimSpace(string(x))
			} else {
				commands = append(commands, string(x))
			}
		}
	}
	own := 0
	for _, c := range commands {
		n, wrong := checkCommands(c)
		own += n
		for _, w := range wrong {
			t.Error(w)
		}
	}
	if own < 10 {
		t.Errorf("only %d commands found", own)
	}
}

// TestCommandsInDocuments checks the commands in the blocks of code of the documents.
func TestCommandsInDocuments(t *testing.T) {
	h := readHouse(t)
	total := 0
	for _, p := range h.documents() {
		for l := range strings.Lines(h.files[p]) {
			if strings.HasPrefix(l, "    ") {
				code, _, _ := strings.Cut(l, " # ")
				n, wrong := checkCommands(code)
				total += n
				for _, w := range wrong {
					t.Errorf("%s: %s", p, w)
				}
			}
		}
	}
	if total < 50 {
		t.Errorf("only %d commands found", total)
	}
}

var (
	ownCommand = regexp.MustCompile(`(?:^|[ '"(|])secmsg((?: +[^ |;&)]+)+)`)
	longFlag   = regexp.MustCompile(`(?:^| )--([a-z][a-z-]*)`)
	verb       = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// checkCommands looks up each secmsg command of a line of shell, and its flags. It
// returns how many there are, and what is wrong with them.
func checkCommands(line string) (n int, wrong []string) {
	for _, m := range ownCommand.FindAllStringSubmatch(line, -1) {
		args := strings.Fields(m[1])
		if args[0] == "--home" && len(args) > 2 {
			args = args[2:]
		}
		if !verb.MatchString(args[0]) {
			continue // a word of a sentence
		}
		n++
		cmd, rest, err := newRootCommand(newApp(nil, os.Stdin, os.Stdout, os.Stderr)).Find(args)
		if err != nil || !cmd.HasParent() || cmd.HasSubCommands() && len(rest) > 0 && verb.MatchString(rest[0]) {
			wrong = append(wrong, "no command: secmsg"+m[1])
			continue
		}
		flags, _, _ := strings.Cut(strings.Join(rest, " "), " -- ")
		for _, f := range longFlag.FindAllStringSubmatch(flags, -1) {
			if f[1] != "help" && cmd.Flag(f[1]) == nil {
				wrong = append(wrong, cmd.CommandPath()+" has no flag --"+f[1])
			}
		}
	}
	return n, wrong
}

func TestCheckCommandsFindsMistakes(t *testing.T) {
	for line, want := range map[string]int{
		"secmsg send bob 'hello' --wait read --timeout 10m": 0,
		"date | secmsg --home A send bob":                   0,
		"secmsg send bob -- --no-flag":                      0,
		"secmsg sent bob":                                   1,
		"secmsg file sent bob":                              1,
		"a; (secmsg send bob --wai read | secmsg fil list)": 2,
	} {
		if n, wrong := checkCommands(line); n == 0 || len(wrong) != want {
			t.Errorf("%s: %d commands, %q", line, n, wrong)
		}
	}
}
