//go:build race

package ratchet

// raceDivisor shortens long tests under the race detector, where the arithmetic is many times slower.
const raceDivisor = 20
