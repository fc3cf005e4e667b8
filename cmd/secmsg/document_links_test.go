package main

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// TestNamedDocumentsExist makes sure that a reader of a comment, a help text or a
// document has every document that it names, and every section that it names with
// it, as in: crypto/SPEC.md, "At rest".
func TestNamedDocumentsExist(t *testing.T) {
	h := readHouse(t)
	named := regexp.MustCompile(`([\w./-]*\w\.md)\b(?:, "([^"\n]+)")?`)
	wrapped := regexp.MustCompile(`\n[ \t]*(?://|#) ?`) // within a comment
	documents, sections := 0, 0
	for p, text := range h.files {
		if p == "cmd/secmsg/documents_test.go" {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(wrapped.ReplaceAllString(text, " "), -1) {
			documents++
			found, ok := h.document(p, m[1])
			if !ok {
				t.Errorf("%s names %s, which is not in the repository", p, m[1])
			} else if m[2] != "" {
				sections++
				if !slices.ContainsFunc(h.headings(found), func(s string) bool { return strings.Contains(s, m[2]) }) {
					t.Errorf("%s names the section %q of %s, which has none of that title", p, m[2], found)
				}
			}
		}
	}
	if documents < 100 || sections < 20 {
		t.Errorf("only %d names of documents and %d of sections found", documents, sections)
	}
}

// TestReadmeLinksEveryDocument: what the README does not link to is not found.
func TestReadmeLinksEveryDocument(t *testing.T) {
	h := readHouse(t)
	for _, p := range h.documents() {
		if p == "README.md" || strings.Contains(p, "/testdata/") {
			continue
		}
		if !strings.Contains(h.files["README.md"], "]("+p+")") {
			t.Errorf("README.md has no link to %s", p)
		}
	}
}

// slug is the anchor that GitHub and most other renderers give a heading.
func slug(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteRune('-')
		}
	}
	return b.String()
}

// TestLinksOfDocuments follows every relative link and every anchor.
func TestLinksOfDocuments(t *testing.T) {
	h := readHouse(t)
	anchors := map[string]map[string]bool{}
	for _, p := range h.documents() {
		anchors[p] = map[string]bool{}
		for _, title := range h.headings(p) {
			anchors[p][slug(title)] = true
		}
	}
	total := 0
	for _, p := range h.documents() {
		text := mdCode.ReplaceAllString(mdFence.ReplaceAllString(h.files[p], ""), "")
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			total++
			target, anchor, _ := strings.Cut(m[1], "#")
			to := p
			if target != "" {
				to = path.Join(path.Dir(p), target)
			}
			if _, ok := h.files[to]; !ok && !h.dirs[to] {
				t.Errorf("%s links to %s, which does not exist", p, m[1])
			} else if anchor != "" && !anchors[to][anchor] {
				t.Errorf("%s links to %s, but %s has no such heading", p, m[1], to)
			}
		}
	}
	if total < 10 {
		t.Errorf("only %d links found", total)
	}
}

func TestSlug(t *testing.T) {
	if got := slug("6.2 Messages that did not open: KIND_RETRY"); got != "62-messages-that-did-not-open-kind_retry" {
		t.Errorf("slug: %q", got)
	}
}
