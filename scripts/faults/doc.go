// Package faults contains the fault tests of delivery: one test for each fault that secmsg promises to
// survive, with real processes, a seed, a history of everything sent, shown and reported, and a judge.
// It contains only tests, for Linux. Tests that need strace or permission to mount say so when they are
// skipped.
//
// SECMSG_FAULTS_SEED sets another seed. SECMSG_HOSTILE=full runs the hostile clients at full size.
package faults
