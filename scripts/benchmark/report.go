package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one figure, with its reference and its goal if there are any.
type row struct {
	Part      string  `json:"part"`
	Name      string  `json:"name"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Reference float64 `json:"reference,omitempty"` // the figure of the bare reference
	Against   string  `json:"against,omitempty"`   // name of the reference
	Ratio     float64 `json:"ratio,omitempty"`     // Value divided by Reference
	Goal      float64 `json:"goal,omitempty"`      // in Unit, or for the ratio if there is a reference
	More      bool    `json:"more_is_better"`
	Met       *bool   `json:"met,omitempty"`
}

// report collects rows.
type report struct {
	part string
	rows []row
}

// figure adds a figure without a reference. A goal of 0 means none.
func (r *report) figure(name string, value float64, unit string, goal float64, more bool) {
	r.add(row{Name: name, Value: value, Unit: unit, Goal: goal, More: more})
}

// compared adds a figure with a reference. goal is a ratio, 0 for none.
func (r *report) compared(name string, value float64, unit, against string, reference, goal float64, more bool) {
	r.add(row{Name: name, Value: value, Unit: unit, Against: against, Reference: reference, Goal: goal, More: more})
}

func (r *report) add(w row) {
	w.Part = r.part
	judged := w.Value
	if w.Reference != 0 {
		w.Ratio = w.Value / w.Reference
		judged = w.Ratio
	}
	if w.Goal != 0 {
		met := judged >= w.Goal
		if !w.More {
			met = judged <= w.Goal
		}
		w.Met = &met
	}
	r.rows = append(r.rows, w)
}

// write prints the rows as a table or as one JSON object.
func (r *report) write(out io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(out).Encode(struct {
			Time time.Time `json:"time"`
			CPUs int       `json:"cpus"`
			Go   string    `json:"go"`
			Rows []row     `json:"rows"`
		}{time.Now().UTC(), runtime.NumCPU(), runtime.Version(), r.rows})
	}
	return writeTable(out, r.rows)
}

// writeTable prints the rows as a table.
func writeTable(out io.Writer, rows []row) error {
	cells := [][]string{{"part", "figure", "value", "unit", "reference", "times", "mark", ""}}
	for _, w := range rows {
		line := []string{w.Part, w.Name, number(w.Value), w.Unit, "", "", "", ""}
		if w.Reference != 0 {
			line[4], line[5] = w.Against+" "+number(w.Reference), number(w.Ratio)
		}
		if w.Goal != 0 {
			line[6], line[7] = "at most "+number(w.Goal), "missed"
			if w.More {
				line[6] = "at least " + number(w.Goal)
			}
			if *w.Met {
				line[7] = "reached"
			}
		}
		cells = append(cells, line)
	}
	return writeCells(out, cells, 2, 5)
}

// writeCells prints lines of cells in columns. The columns in right contain numbers and are
// right-aligned.
func writeCells(out io.Writer, cells [][]string, right ...int) error {
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], len(c))
		}
	}
	for _, line := range cells {
		var b strings.Builder
		for i, c := range line {
			if slices.Contains(right, i) {
				fmt.Fprintf(&b, "%*s  ", widths[i], c)
			} else {
				fmt.Fprintf(&b, "%-*s  ", widths[i], c)
			}
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(b.String(), " ")); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return nil
}

// number formats three significant digits without an exponent.
func number(v float64) string {
	if v == 0 || math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', max(digits, 0), 64)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
