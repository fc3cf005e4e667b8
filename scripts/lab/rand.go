package lab

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// NewRand returns a random generator for the part of a run that name describes. A part with its own
// name gets the same numbers even if other parts draw more or fewer. The generator is for faults, never
// for keys.
func NewRand(seed uint64, name string) *rand.Rand {
	b := binary.BigEndian.AppendUint64(nil, seed)
	sum := sha256.Sum256(append(b, name...))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])))
}
