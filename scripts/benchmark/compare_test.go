package main

import (
	"errors"
	"strings"
	"testing"
)

// collect returns a comparison of one figure from its rounds of {old, new, old again}.
func collect(more bool, rounds ...[sides]float64) *comparison {
	var c comparison
	for _, round := range rounds {
		for which, v := range round {
			c.add(which, []row{{Part: "relay", Name: "rate", Value: v, Unit: "msg/s", More: more}})
		}
	}
	return &c
}

func TestCompareJudgesByTheNoiseOfOld(t *testing.T) {
	for name, one := range map[string]struct {
		c    *comparison
		want string
	}{
		"within the noise":              {collect(true, [sides]float64{100, 92, 110}, [sides]float64{100, 99, 101}), verdictSame},
		"slower than the noise":         {collect(true, [sides]float64{100, 80, 102}, [sides]float64{100, 82, 99}), verdictWorse},
		"faster than the noise":         {collect(true, [sides]float64{100, 130, 102}, [sides]float64{100, 120, 99}), verdictBetter},
		"a cost that grew":              {collect(false, [sides]float64{100, 130, 102}, [sides]float64{100, 120, 99}), verdictWorse},
		"a cost that fell":              {collect(false, [sides]float64{100, 80, 102}, [sides]float64{100, 82, 99}), verdictBetter},
		"one round that went wrong":     {collect(true, [sides]float64{100, 10, 101}, [sides]float64{100, 100, 99}, [sides]float64{100, 100, 100}), verdictSame},
		"the machine slows for a round": {collect(true, [sides]float64{100, 100, 101}, [sides]float64{50, 50, 51}, [sides]float64{100, 101, 100}), verdictSame},
	} {
		var b strings.Builder
		if err := one.c.write(&b, "text"); err != nil {
			t.Fatal(err)
		}
		if got := one.c.figures[0].Verdict; got != one.want {
			t.Errorf("%s: %s, want %s\n%s", name, got, one.want, b.String())
		}
		if got := errors.Is(one.c.outcome(), errWorse); got != (one.want == verdictWorse) {
			t.Errorf("%s: outcome says worse: %v", name, got)
		}
	}
}

// A figure that only one program has is printed but does not influence the verdict.
func TestCompareOfAFigureWithoutPair(t *testing.T) {
	var c comparison
	c.add(sideNew, []row{{Part: "relay", Name: "new", Value: 1, Unit: "ms"}})
	var b strings.Builder
	if err := errors.Join(c.write(&b, "text"), c.outcome()); err != nil || !strings.Contains(b.String(), verdictAlone) {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestCompareArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"two binaries":     {"compare", "/bin/true"},
		"as arguments":     {"compare", "/bin/true", "/bin/true", "-binary", "/bin/true"},
		"no part":          {"compare", "/bin/true", "/bin/true", "nosuch"},
		"no such file":     {"compare", "/nosuch/file", "/bin/true"},
		"needs checkouts":  {"compare", "/bin/true", "/bin/true", "crypto"},
		"number too small": {"compare", "/bin/true", "/bin/true", "-rounds", "0"},
	} {
		var out, talk strings.Builder
		if err := run(t.Context(), args, &out, &talk); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
