// Package faults holds the fault tests of delivery: one test for each fault that
// secmsg promises to survive, on real processes, with a seed, a history of what
// was sent, shown and told, and a judge. It has nothing but tests, for Linux; those
// that need strace or the right to mount say so where they are skipped.
//
// SECMSG_FAULTS_SEED sets another seed; SECMSG_HOSTILE=full runs the hostile
// clients in full size.
package faults
