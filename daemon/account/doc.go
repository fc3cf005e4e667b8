// Package account runs the user's own accounts. An Account is one of them: its
// engine, its link to the server, its file transfers and its calls, from the
// moment the profile is unlocked until it is locked. It connects, replaces the
// device when the server finds this copy of it outdated, and goes on without a
// connection when it may not connect. Join makes a new account.
//
// The package also adapts the account's parts to each other: the engine to
// package call (signals.go), package media to package call (media.go), and the
// link to package files (blobs.go).
//
// An Account owns its goroutines; Stop waits for them. All methods are safe for
// concurrent use.
package account
