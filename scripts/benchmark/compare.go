package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"secmsg/scripts/lab"
)

// compareCommand is the first argument of a comparison.
const compareCommand = "compare"

// errWorse is returned by a comparison in which NEW lost.
var errWorse = errors.New("a figure of NEW is worse by more than the noise")

// side is one program of a comparison.
type side struct {
	name         string
	binary, tree string
}

// The sides of a round. OLD is measured twice: the difference between its two figures is the noise.
const (
	sideOld = iota
	sideNew
	sideOldAgain
	sides
)

// runCompare measures two binaries in turn, over several rounds of all parts.
func runCompare(ctx context.Context, args []string, o options, stdout, stderr io.Writer) (err error) {
	if len(args) < 2 {
		return errors.New("compare needs two binaries or checkouts: scripts/bench compare OLD NEW [PART...]")
	}
	if o.binary != "" {
		return errors.New("compare takes its binaries as arguments, not by -binary")
	}
	chosen, err := choose(args[2:])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "secmsg-bench-")
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	before, err := openSide(ctx, "OLD", args[0], filepath.Join(dir, "old"))
	if err != nil {
		return err
	}
	after, err := openSide(ctx, "NEW", args[1], filepath.Join(dir, "new"))
	if err != nil {
		return err
	}
	if before.tree == "" || after.tree == "" {
		if len(args) == 2 {
			chosen = slices.DeleteFunc(chosen, func(p part) bool { return p.name == "crypto" })
		} else if slices.ContainsFunc(chosen, func(p part) bool { return p.name == "crypto" }) {
			return errors.New("the part crypto needs checkouts, since its benchmarks are not in the binary")
		}
	}
	all := [sides]side{sideOld: before, sideNew: after, sideOldAgain: before}
	var c comparison
	for round := range o.rounds {
		for _, p := range chosen {
			for i := range sides {
				which := (round + i) % sides // the order rotates, because the machine changes during a round
				fmt.Fprintf(stderr, "bench: round %d of %d, %s\n", round+1, o.rounds, all[which].name)
				b := &bench{out: &report{}, talk: stderr, opt: o}
				b.opt.binary, b.opt.tree, b.opt.built = all[which].binary, all[which].tree, all[which].tree != ""
				if err := b.runPart(ctx, p); err != nil {
					return errors.Join(fmt.Errorf("%s: %w", all[which].name, err), c.write(stdout, o.output))
				}
				c.add(which, b.out.rows)
			}
		}
	}
	return errors.Join(c.write(stdout, o.output), c.outcome())
}

// openSide finds the binary at path, or builds the checkout there into dir.
func openSide(ctx context.Context, name, path, dir string) (side, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return side{}, fmt.Errorf("%s: %w", name, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return side{}, fmt.Errorf("%s: %w", name, err)
	}
	if !info.IsDir() {
		return side{name: name, binary: path}, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return side{}, fmt.Errorf("%s: %w", name, err)
	}
	bin, err := lab.Build(ctx, path, dir)
	if err != nil {
		return side{}, fmt.Errorf("%s: %w", name, err)
	}
	return side{name: name, binary: bin, tree: path}, nil
}

// comparison collects the rounds of each figure, in the order of their first appearance.
type comparison struct {
	figures []*compared
}

// compared is one figure of both programs.
type compared struct {
	Part string `json:"part"`
	Name string `json:"name"`
	Unit string `json:"unit"`
	More bool   `json:"more_is_better"`

	Old   float64 `json:"old"`   // median of all rounds
	New   float64 `json:"new"`   // median of all rounds
	Ratio float64 `json:"ratio"` // median of the rounds' ratios of NEW to the mean of both measurements of OLD
	// NoiseLow and NoiseHigh bound OLD relative to itself: the smallest and the largest ratio of its
	// two measurements in a round, in either direction.
	NoiseLow  float64 `json:"noise_low"`
	NoiseHigh float64 `json:"noise_high"`
	Verdict   string  `json:"verdict"`

	values [sides][]float64
}

// Verdicts about a figure.
const (
	verdictSame   = "same"   // within the noise
	verdictBetter = "better" // outside of the noise
	verdictWorse  = "WORSE"  // outside of the noise
	verdictAlone  = "no pair"
)

// add adds the rows of one part of one side.
func (c *comparison) add(which int, rows []row) {
	for _, r := range rows {
		i := slices.IndexFunc(c.figures, func(f *compared) bool { return f.Part == r.Part && f.Name == r.Name && f.Unit == r.Unit })
		if i < 0 {
			i = len(c.figures)
			c.figures = append(c.figures, &compared{Part: r.Part, Name: r.Name, Unit: r.Unit, More: r.More})
		}
		f := c.figures[i]
		f.values[which] = append(f.values[which], r.Value)
	}
}

// judge computes the printed values of a figure.
func (f *compared) judge() {
	rounds := len(f.values[sideOld])
	for _, v := range f.values {
		rounds = min(rounds, len(v))
	}
	f.Old = median(slices.Concat(f.values[sideOld], f.values[sideOldAgain]))
	f.New = median(f.values[sideNew])
	f.Verdict = verdictAlone
	var ratios []float64
	f.NoiseLow, f.NoiseHigh = 1, 1
	for i := range rounds {
		a, n, b := f.values[sideOld][i], f.values[sideNew][i], f.values[sideOldAgain][i]
		if a <= 0 || b <= 0 || n < 0 {
			return // nothing to divide by
		}
		ratios = append(ratios, 2*n/(a+b))
		f.NoiseLow = min(f.NoiseLow, a/b, b/a)
		f.NoiseHigh = max(f.NoiseHigh, a/b, b/a)
	}
	if len(ratios) == 0 {
		return
	}
	f.Ratio = median(ratios)
	switch {
	case f.Ratio >= f.NoiseLow && f.Ratio <= f.NoiseHigh:
		f.Verdict = verdictSame
	case (f.Ratio > 1) == f.More:
		f.Verdict = verdictBetter
	default:
		f.Verdict = verdictWorse
	}
}

// median returns the median, or 0 for no values.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// outcome returns errWorse if a figure of NEW is worse by more than the noise.
func (c *comparison) outcome() error {
	for _, f := range c.figures {
		if f.Verdict == verdictWorse {
			return errWorse
		}
	}
	return nil
}

// write judges the figures and prints them as a table or as one JSON object.
func (c *comparison) write(out io.Writer, format string) error {
	for _, f := range c.figures {
		f.judge()
	}
	if format == "json" {
		return json.NewEncoder(out).Encode(struct {
			Time time.Time   `json:"time"`
			CPUs int         `json:"cpus"`
			Go   string      `json:"go"`
			Rows []*compared `json:"rows"`
		}{time.Now().UTC(), runtime.NumCPU(), runtime.Version(), c.figures})
	}
	cells := [][]string{{"part", "figure", "unit", "old", "new", "new/old", "noise: old/old", ""}}
	for _, f := range c.figures {
		cells = append(cells, []string{f.Part, f.Name, f.Unit, number(f.Old), number(f.New), number(f.Ratio),
			number(f.NoiseLow) + " to " + number(f.NoiseHigh), f.Verdict})
	}
	return writeCells(out, cells, 3, 4, 5)
}
