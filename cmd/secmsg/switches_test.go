package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestSwitchesAreListed compares the variables that tests and scripts use with the
// list in scripts/HACKING.md, in which a * stands for any end.
func TestSwitchesAreListed(t *testing.T) {
	const list = "scripts/HACKING.md"
	h := readHouse(t)
	variable := regexp.MustCompile(`\b(SECMSG_[A-Z0-9_]+|ENGINE_LOG|UPDATE_GOLDEN)`)
	pattern := regexp.MustCompile("^" + variable.String() + `\*?$`)
	listed := map[string]bool{}
	for _, quoted := range mdCode.FindAllString(h.files[list], -1) {
		name, _, _ := strings.Cut(strings.Trim(quoted, "`"), "=")
		if pattern.MatchString(name) {
			listed[name] = false
		}
	}
	for p, text := range h.files {
		isTest := strings.HasSuffix(p, "_test.go") || strings.HasPrefix(p, "scripts/") || strings.Contains(p, "/testdata/script/")
		if !isTest || p == list || p == "cmd/secmsg/switches_test.go" {
			continue
		}
		for _, name := range variable.FindAllString(text, -1) {
			found := false
			for l := range listed {
				prefix, any := strings.CutSuffix(l, "*")
				if name == l || any && strings.HasPrefix(name, prefix) {
					listed[l], found = true, true
				}
			}
			if !found {
				t.Errorf("%s uses %s, which %s does not list", p, name, list)
			}
		}
	}
	for name, used := range listed {
		if !used {
			t.Errorf("%s lists %s, which no test and no script uses", list, name)
		}
	}
}
