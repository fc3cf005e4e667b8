package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// architecture is the document with the map of the packages.
const architecture = "daemon/ARCHITECTURE.md"

// mapRows reads the table of the map: for each package what it may import.
func mapRows(t *testing.T, text string) map[string][]string {
	t.Helper()
	rows := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|[^|]*\\|([^|]*)\\|$")
	_, section, _ := strings.Cut(text, "\n## The map\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows for %s", architecture, m[1])
		}
		rows[m[1]] = []string{}
		for _, quoted := range mdCode.FindAllString(m[2], -1) {
			rows[m[1]] = append(rows[m[1]], strings.Trim(quoted, "`"))
		}
	}
	return rows
}

// moduleImports returns, for each package of the module, the packages of the
// module that it imports outside of tests.
func (h house) moduleImports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for p, text := range h.files {
		if path.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") || strings.Contains(p, "/testdata/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		pkg := path.Dir(p)
		if out[pkg] == nil {
			out[pkg] = []string{}
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if own, ok := strings.CutPrefix(imported, "secmsg/"); ok && !slices.Contains(out[pkg], own) {
				out[pkg] = append(out[pkg], own)
			}
		}
	}
	return out
}

// allows reports whether a pattern of the map names a package: * is one element
// of a path, ... is everything below.
func allows(pattern, pkg string) bool {
	if strings.HasSuffix(pattern, "/...") {
		return covers(pattern, pkg)
	}
	ok, err := path.Match(pattern, pkg)
	return err == nil && ok
}

// TestMap holds the map of the packages against the code.
func TestMap(t *testing.T) {
	h := readHouse(t)
	rows, imports := mapRows(t, h.files[architecture]), h.moduleImports(t)
	for pkg, list := range imports {
		row, ok := rows[pkg]
		if !ok {
			t.Errorf("%s has no row for the package %s", architecture, pkg)
			continue
		}
		for _, own := range list {
			if !slices.ContainsFunc(row, func(p string) bool { return allows(p, own) }) {
				t.Errorf("%s imports %s, which its row in %s does not list", pkg, own, architecture)
			}
		}
	}
	for pkg, row := range rows {
		list, ok := imports[pkg]
		if !ok {
			t.Errorf("%s has a row for %s, which is no package", architecture, pkg)
			continue
		}
		for _, pattern := range row {
			if !slices.ContainsFunc(list, func(own string) bool { return allows(pattern, own) }) {
				t.Errorf("%s lets %s import %s, which it does not do", architecture, pkg, pattern)
			}
		}
	}
	if len(imports) < 40 {
		t.Errorf("only %d packages found", len(imports))
	}
}

// rulesTable shows the layer rules as the document does.
func rulesTable() string {
	var b strings.Builder
	b.WriteString("| Package | Never imports | Also indirectly | Because |\n|---|---|---|---|\n")
	for _, l := range layers() {
		var never []string
		for _, n := range l.never {
			switch n {
			case "secmsg/...":
				never = append(never, "any other package of this module")
			default:
				never = append(never, "`"+strings.TrimPrefix(n, "secmsg/")+"`")
			}
		}
		indirect := ""
		if l.transitive {
			indirect = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", l.pkg, strings.Join(never, ", "), indirect, l.reason)
	}
	return b.String()
}

// TestRules compares the rules in the document with those that TestLayers enforces.
func TestRules(t *testing.T) {
	name := filepath.Join("..", "..", filepath.FromSlash(architecture))
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "; do not edit -->\n", "<!-- end of rules -->"
	before, rest, ok := strings.Cut(string(text), begin)
	rules, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the rules", architecture)
	}
	if rules == rulesTable() {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatalf("%s has other rules than layers_test.go; write them with UPDATE_GOLDEN=1 go test ./cmd/secmsg -run TestRules", architecture)
	}
	if err := os.WriteFile(name, []byte(before+begin+rulesTable()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
