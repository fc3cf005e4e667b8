// Package ca is the realm's certificate authority at work: it keeps the root,
// the issuing CA and the server's TLS certificate as files of the server's
// directory, issues account certificates, signs the realm statement, and
// replaces what grows old. The structures and their checks are in
// crypto/identity.
//
// A CA may be used concurrently. Run, the only goroutine's body, belongs to the
// caller and ends with its context.
package ca
