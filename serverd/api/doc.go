// Package api is the server's REST API: registration, challenges and tokens,
// accounts, manifests, certificates, prekeys and contact lists, as OpenAPI 3.1
// by huma on the standard library's mux. It verifies what clients sign; what
// it cannot verify it does not store.
//
// An API may be used concurrently, starts no goroutine and needs no closing. It
// implements the relay's Tokens.
package api
