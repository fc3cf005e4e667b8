package main

import (
	"os"
	"strconv"
	"testing"
	"time"

	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/harness"
)

// TestSoak is the short form of scripts/soak: real processes under faults. The seed is fixed so that
// two failures can be compared; SECMSG_SOAK_SEED sets another.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes under faults for most of a minute")
	}
	seed := uint64(1)
	if text := os.Getenv("SECMSG_SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := lab.BuildForTests(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := harness.Run(t.Context(), harness.Options{
		Seed: seed, Messages: 300, Kills: 15, Users: 4, Binary: bin, Quiet: time.Minute, Talk: testWriter{t},
		Frames: lab.FrameRates{Duplicate: 0.02, Reorder: 0.05, Drop: 0.005, Flip: 0.005},
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if err := report.Text(testWriter{t}); err != nil {
		t.Fatal(err)
	}
	if len(report.Violations) > 0 {
		t.Errorf("seed %d: %d violations", seed, len(report.Violations))
	}
}

// testWriter writes into the log of a test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}
