// Package api is the server's REST API: registration, challenges and tokens, accounts, manifests,
// certificates, prekeys and contact lists, as OpenAPI 3.1 by huma on the standard library's mux. It
// verifies everything that clients sign and stores nothing unverified.
//
// An API is safe for concurrent use, starts no goroutine and needs no closing. It implements the
// relay's Tokens.
package api
