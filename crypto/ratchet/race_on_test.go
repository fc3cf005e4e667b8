//go:build race

package ratchet

// raceDivisor makes long tests shorter under the race detector, where the
// arithmetic is many times slower.
const raceDivisor = 20
