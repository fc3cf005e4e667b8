//go:build !race

package ratchet

// raceDivisor is 1 without the race detector.
const raceDivisor = 1
