// Package ca runs the realm's certificate authority. It keeps the root, the issuing CA and the server's
// TLS certificate as files in the server's directory, issues account certificates, signs the realm
// statement, and renews whatever expires. crypto/identity defines the structures and their checks.
//
// A CA is safe for concurrent use. The caller runs Run on a goroutine, which ends with its context.
package ca
