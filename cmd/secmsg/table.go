package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table prints a list: as JSON one object a line, as text in aligned columns
// with a heading. An empty list prints nothing.
type table struct {
	a      *app
	rows   [][]string
	widths []int
	err    error
}

func (a *app) newTable(heading ...string) *table {
	t := &table{a: a, widths: make([]int, len(heading))}
	t.add(heading)
	return t
}

// row adds an object: v for JSON, the cells for text.
func (t *table) row(v any, cells ...any) {
	if t.err != nil {
		return
	}
	if t.a.json() {
		t.err = t.a.printJSON(v)
		return
	}
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = visible(fmt.Sprint(c))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	t.add(texts)
}

func (t *table) add(cells []string) {
	for i, c := range cells {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c))
	}
	t.rows = append(t.rows, cells)
}

// flush prints the aligned columns.
func (t *table) flush() error {
	if t.err != nil || t.a.json() || len(t.rows) < 2 {
		return t.err
	}
	var b strings.Builder
	for _, cells := range t.rows {
		for i, c := range cells {
			b.WriteString(c)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	return t.a.write([]byte(b.String()))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
