package store

import (
	"math/rand/v2"
	"testing"
)

// A number counts as repeated only if it has arrived before: not if it is late, even after
// its gap was reported, and not if it is lower than the first one that arrived.
func TestRepeatedNumbers(t *testing.T) {
	s := openTest(t, testPath(t))
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 20 {
		device := [16]byte{byte(round)}
		seen := map[uint64]bool{}
		update(t, s, func(tx *Tx) error {
			for range 200 {
				n := uint64(rng.IntN(120) + 1)
				repeated, err := tx.SawN(1, 1, device, n, 5)
				if err != nil {
					return err
				}
				if repeated != seen[n] {
					t.Errorf("round %d: n %d came before: %v, taken for repeated: %v", round, n, seen[n], repeated)
				}
				seen[n] = true
				if rng.IntN(5) > 0 {
					continue
				}
				gaps, err := tx.Gaps(1, 10)
				if err != nil {
					return err
				}
				for _, g := range gaps {
					if err := tx.GapTold(1, g); err != nil {
						return err
					}
				}
				if ms, err := tx.OldestGap(1); err != nil || ms != 0 {
					t.Errorf("a gap that was told is due again: %d %v", ms, err)
				}
			}
			return nil
		})
	}
}

// A device that skips every second number fills no table, and its late messages do not
// count as repeated.
func TestManyGapsAreMerged(t *testing.T) {
	s := openTest(t, testPath(t))
	update(t, s, func(tx *Tx) error {
		for n := uint64(1); n < 6*maxGaps; n += 2 {
			if repeated, err := tx.SawN(1, 1, [16]byte{}, n, 5); err != nil || repeated {
				t.Fatalf("n %d: %v %v", n, repeated, err)
			}
			gaps, err := tx.Gaps(1, 10)
			if err != nil {
				return err
			}
			for _, g := range gaps {
				if err := tx.GapTold(1, g); err != nil {
					return err
				}
			}
		}
		var rows int
		if err := tx.get(`SELECT count(*) FROM gaps`, nil, &rows); err != nil || rows > maxGaps+1 {
			t.Errorf("%d rows, %v", rows, err)
		}
		for n := uint64(2); n < 6*maxGaps-2; n += 2 {
			if repeated, err := tx.SawN(1, 1, [16]byte{}, n, 5); err != nil || repeated {
				t.Fatalf("late %d: %v %v", n, repeated, err)
			}
		}
		return nil
	})
}
