package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// house is the repository as its documents see it: every file and the text of
// those that are text.
type house struct {
	files map[string]string // by path from the root, with slashes
	dirs  map[string]bool
}

func readHouse(t *testing.T) house {
	t.Helper()
	root := filepath.Join("..", "..")
	h := house{files: map[string]string{}, dirs: map[string]bool{}}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if d.Name() == ".git" || rel == "bin" {
				return fs.SkipDir
			}
			h.dirs[rel] = true
			return nil
		}
		if !d.Type().IsRegular() || rel == "secmsg" || rel == ".git" { // a built binary; a worktree's link
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if !utf8.Valid(text) || slices.Contains(text, 0) {
			text = nil
		}
		h.files[rel] = string(text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.files) < 500 {
		t.Fatalf("only %d files found", len(h.files))
	}
	return h
}

// documents returns the paths of all documents.
func (h house) documents() []string {
	var out []string
	for p := range h.files {
		if path.Ext(p) == ".md" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// document finds the document that a text in the file from names: by its path
// from the root, by its path from the file, or by its bare name where only one
// document has it.
func (h house) document(from, name string) (string, bool) {
	for _, p := range []string{path.Clean(name), path.Join(path.Dir(from), name)} {
		if _, ok := h.files[p]; ok {
			return p, true
		}
	}
	if path.Base(name) != name && !path.IsAbs(name) { // absolute: as a virtual machine sees it
		return "", false
	}
	var found []string
	for _, p := range h.documents() {
		if path.Base(p) == path.Base(name) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return "", false
	}
	return found[0], true
}

// headings returns the titles of a document's sections.
func (h house) headings(p string) []string {
	var out []string
	for _, m := range mdHeading.FindAllStringSubmatch(mdFence.ReplaceAllString(h.files[p], ""), -1) {
		out = append(out, m[1])
	}
	return out
}

var (
	mdLink    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	mdFence   = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
	mdRules   = regexp.MustCompile("(?s)<!-- rules.*?<!-- end of rules")
	mdCode    = regexp.MustCompile("`[^`\n]+`")
)

// tops are the directories at the root with code; a token that begins with one of
// them is a path.
func tops() []string {
	return []string{"cmd", "config", "crypto", "daemon", "rpc", "scripts", "serverd", ".ci"}
}

// isPath reports whether a token in backquotes means a file or a directory of the
// repository, and how it is looked up.
func isPath(token string) bool {
	if strings.ContainsAny(token, " <>{}$\"'=|()") {
		return false
	}
	top, rest, ok := strings.Cut(token, "/")
	return ok && rest != "" && slices.Contains(tops(), top) || regexp.MustCompile(`^[\w./*-]+\.(go|proto)$`).MatchString(token)
}

// exists reports whether a path names a file or directory. The path may be given
// from the root, or from the document, or leave out directories at its front, and
// may have patterns.
func (h house) exists(from, token string) bool {
	token = strings.TrimSuffix(strings.TrimSuffix(token, "/..."), "/")
	for p := range h.files {
		if matches(token, from, p) {
			return true
		}
	}
	for p := range h.dirs {
		if matches(token, from, p) {
			return true
		}
	}
	return false
}

func matches(token, from, p string) bool {
	for _, pattern := range []string{token, path.Join(path.Dir(from), token)} {
		if ok, _ := path.Match(pattern, p); ok {
			return true
		}
	}
	parts := strings.Split(p, "/")
	n := strings.Count(token, "/") + 1
	if n > len(parts) {
		return false
	}
	ok, _ := path.Match(token, strings.Join(parts[len(parts)-n:], "/"))
	return ok && path.Ext(token) != ""
}

// TestPathsInDocuments finds what a document calls a file, a package or a function
// and what is not there any more. Functions are written with their brackets:
// `pump()`, or with the package or type in front: `engine.Submit()`.
func TestPathsInDocuments(t *testing.T) {
	h := readHouse(t)
	functions := h.functions()
	call := regexp.MustCompile(`^(?:([A-Za-z]\w*)\.)?([A-Za-z]\w*)\(\)$`)
	paths, calls := 0, 0
	for _, p := range h.documents() {
		if strings.Contains(p, "/testdata/") {
			continue
		}
		// The rules may be there before the package that they are for.
		text := mdRules.ReplaceAllString(mdFence.ReplaceAllString(h.files[p], ""), "")
		for _, quoted := range mdCode.FindAllString(text, -1) {
			token := strings.TrimPrefix(strings.Trim(quoted, "`"), "./")
			if isPath(token) {
				paths++
				if !h.exists(p, token) {
					t.Errorf("%s names %s, which does not exist", p, quoted)
				}
			}
			if m := call.FindStringSubmatch(token); m != nil {
				calls++
				if !slices.ContainsFunc(functions[m[2]], func(in string) bool { return m[1] == "" || in == m[1] }) {
					t.Errorf("%s names the function %s, which does not exist", p, quoted)
				}
			}
		}
	}
	if paths < 50 || calls < 30 {
		t.Errorf("only %d paths and %d functions found", paths, calls)
	}
}

// TestFunctionsAreInTheirFiles reads "`pump()` in `daemon/engine/pump.go`" in
// documents, also with several functions, and looks into the file.
func TestFunctionsAreInTheirFiles(t *testing.T) {
	h := readHouse(t)
	phrase := regexp.MustCompile("((?:`[\\w.]+\\(\\)`(?:,| and|, and)? )+)(?:in|of) `([\\w./]+\\.go)`")
	total := 0
	for _, p := range h.documents() {
		text := strings.Join(strings.Fields(mdFence.ReplaceAllString(h.files[p], "")), " ")
		for _, m := range phrase.FindAllStringSubmatch(text, -1) {
			for _, quoted := range mdCode.FindAllString(m[1], -1) {
				total++
				name := strings.TrimSuffix(strings.Trim(quoted, "`"), "()")
				name = name[strings.LastIndex(name, ".")+1:]
				if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `[(\[]`).MatchString(h.files[m[2]]) {
					t.Errorf("%s looks for %s in %s, which does not declare it", p, quoted, m[2])
				}
			}
		}
	}
	if total < 20 {
		t.Errorf("only %d functions with their files found", total)
	}
}

// TestFlowsNameFunctions: package comments with a section "Inbound flow" or
// "Outbound flow" name the functions on the way as Type.method or package.Function.
func TestFlowsNameFunctions(t *testing.T) {
	h := readHouse(t)
	functions := h.functions()
	flow := regexp.MustCompile(`(?m)^// # (?:In|Out)bound flow.*\n(?://.*\n)*`)
	dotted := regexp.MustCompile(`\b([A-Za-z]\w*)\.([A-Za-z]\w*)\b`)
	flows, names := 0, 0
	for p, text := range h.files {
		if path.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") {
			continue
		}
		for _, section := range flow.FindAllString(text, -1) {
			flows++
			for _, m := range dotted.FindAllStringSubmatch(section, -1) {
				names++
				if !slices.Contains(functions[m[2]], m[1]) && !h.hasMember(path.Dir(p), m[2]) {
					t.Errorf("%s names %s, which does not exist", p, m[0])
				}
			}
		}
	}
	if flows < 2 || names < 40 {
		t.Errorf("only %d flows with %d names found", flows, names)
	}
}

// hasMember reports whether a package has a field of that name, or an interface of
// it or of a package that it knows has such a method.
func (h house) hasMember(pkg, name string) bool {
	field := regexp.MustCompile(`(?m)^\t(?:\w+, )*` + name + `(?:, \w+)* +[^=:\s]`)
	method := regexp.MustCompile(`(?m)^\t` + name + `\(.*\)`)
	for p, text := range h.files {
		if path.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") {
			continue
		}
		if method.MatchString(text) || path.Dir(p) == pkg && field.MatchString(text) {
			return true
		}
	}
	return false
}

// functions returns, for each function or method of the module outside of tests,
// the packages and receivers that have one of that name.
func (h house) functions() map[string][]string {
	declared := regexp.MustCompile(`(?m)^func (?:\((?:\w+ )?\*?(\w+)(?:\[[^\]]*\])?\) )?(\w+)[(\[]`)
	out := map[string][]string{}
	for p, text := range h.files {
		if path.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") {
			continue
		}
		for _, m := range declared.FindAllStringSubmatch(text, -1) {
			out[m[2]] = append(out[m[2]], path.Base(path.Dir(p)))
			if m[1] != "" {
				out[m[2]] = append(out[m[2]], m[1])
			}
		}
	}
	return out
}

// TestDocumentTestsCanFail makes sure that the tests above see what is wrong.
func TestDocumentTestsCanFail(t *testing.T) {
	h := readHouse(t)
	for name, want := range map[string]bool{
		"delivery.md": false, "rpc/NONE.md": false, "doc/SPEC.md": false,
		"../PROTOCOL.md": true, "rpc/PROTOCOL.md": true, "SPEC.md": true, "/host/OPERATIONS.md": true,
	} {
		if _, ok := h.document("rpc/wire/doc.go", name); ok != want {
			t.Errorf("%s is found: %v", name, ok)
		}
	}
	for token, want := range map[string]bool{
		"cmd/secmsg/main.go": true, "engine/doc.go": true, "daemon/*": true, "serverd/...": true, "secmsg/nothing.go": false,
		"daemon/nothing": false, "nothing.go": false, "gine/doc.go": false,
	} {
		if got := h.exists("README.md", token); got != want {
			t.Errorf("%s exists: %v", token, got)
		}
	}
	if isPath("a/b") || isPath("config.yaml") || isPath("daemon run") || !isPath("daemon/engine") || !isPath("engine.go") {
		t.Error("paths are not told from other words")
	}
	if in := h.functions(); !slices.Contains(in["Next"], "call") || len(in["TestDocumentTestsCanFail"]) > 0 {
		t.Error("functions are not found")
	}
}

// TestTestsInDocumentsExist: a document that says which test proves or shows
// something names one that is there, or the beginning of several.
func TestTestsInDocumentsExist(t *testing.T) {
	h := readHouse(t)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	var all []string
	for p, text := range h.files {
		if strings.HasSuffix(p, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(text, -1) {
				all = append(all, m[1])
			}
		}
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	for _, p := range h.documents() {
		for _, name := range named.FindAllString(h.files[p], -1) {
			if !slices.ContainsFunc(all, func(x string) bool { return strings.HasPrefix(x, name) }) {
				t.Errorf("%s names the test %s, which does not exist", p, name)
			}
		}
	}
}
