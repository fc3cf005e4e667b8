package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"secmsg/rpc/local"
)

// TestCommandsDocument compares the tables of COMMANDS.md with the tree of commands
// and the table of exit codes, and writes them anew if UPDATE_GOLDEN is set.
func TestCommandsDocument(t *testing.T) {
	const name = "COMMANDS.md"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := section(t, section(t, string(b), "exit codes", exitCodesTable()), "commands", commandsTable(t))
	switch {
	case want == string(b):
	case os.Getenv("UPDATE_GOLDEN") != "":
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s differs from the commands: run UPDATE_GOLDEN=1 go test ./cmd/secmsg -run %s and look at the difference", name, t.Name())
	}
}

// section replaces the text between the marks of a section.
func section(t *testing.T, document, name, text string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := strings.Cut(document, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("the document has no marks for the section %q", name)
	}
	return before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after
}

func exitCodesTable() string {
	var b strings.Builder
	b.WriteString("| Exit code | JSON `code` | Meaning |\n|---|---|---|\n")
	for _, row := range exitTable() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", row.code, codeNames(row.codes), row.meaning)
	}
	return b.String()
}

func codeNames(codes []local.Code) string {
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = "`" + string(c) + "`"
	}
	return strings.Join(out, ", ")
}

// commandsTable has a table for each group of the help.
func commandsTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	root := newRootCommand(newApp(nil, os.Stdin, os.Stdout, os.Stderr))
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "**%s**\n\n| Command | |\n|---|---|\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				commandRows(t, &b, c)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func commandRows(t *testing.T, b *strings.Builder, c *cobra.Command) {
	t.Helper()
	sub := shownCommands(c)
	if len(sub) == 0 || c.Name() == "rpc" { // the one group that also does something by itself
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		use := strings.TrimPrefix(strings.TrimSuffix(c.UseLine(), " [flags]"), "secmsg ")
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(use, "|", "\\|"), strings.ReplaceAll(c.Short, "|", "\\|"))
	}
	for _, s := range sub {
		commandRows(t, b, s)
	}
}

// TestCommandsDocumentCanFail makes sure that the test above sees every command,
// and a change of its description.
func TestCommandsDocumentCanFail(t *testing.T) {
	table := commandsTable(t)
	count := 0
	everyCommand(func(c *cobra.Command, path []string) {
		if len(shownCommands(c)) > 0 && c.Name() != "rpc" {
			return
		}
		count++
		if row := "| `" + strings.Join(path, " "); !strings.Contains(table, row+" ") && !strings.Contains(table, row+"`") {
			t.Errorf("the table has no row for %s", strings.Join(path, " "))
		}
	})
	if rows := strings.Count(table, "\n| `"); rows < count || count < 50 {
		t.Errorf("%d rows for %d commands", rows, count)
	}
	if document := "<!-- begin commands -->\nold\n<!-- end commands -->"; section(t, document, "commands", table) == document {
		t.Error("a section is not replaced")
	}
}
