package main

import (
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.2347: "0.235", 2.347: "2.35", 23.47: "23.5", 234.7: "235", 2347: "2347", 0.00123: "0.00123"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	var r report
	r.part = "relay"
	r.compared("rate", 200, "msg/s", "bare", 100, 1, true)
	r.compared("cpu", 30, "us", "bare", 20, 1, false)
	r.figure("time", 3, "ms", 10, false)
	for i, want := range []bool{true, false, true} {
		if r.rows[i].Met == nil || *r.rows[i].Met != want {
			t.Errorf("row %+v: met should be %v", r.rows[i], want)
		}
	}
	var b strings.Builder
	if err := r.write(&b, "text"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "missed") || !strings.Contains(b.String(), "reached") {
		t.Errorf("table:\n%s", b.String())
	}
}

func TestQuantile(t *testing.T) {
	s := samples{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}
	for q, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 2 * time.Millisecond, 0.99: 3 * time.Millisecond} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
}

func TestParseBench(t *testing.T) {
	ns, err := parseBench([]byte("goos: linux\nBenchmarkHandshake-2   \t     469\t   2412345 ns/op\t  100 B/op\t 5 allocs/op\nBenchmarkSeal1K\t 10 \t 30.5 ns/op\nok\n"))
	if err != nil || ns["Handshake"] != 2412345 || ns["Seal1K"] != 30.5 {
		t.Errorf("parsed %v, %v", ns, err)
	}
}
