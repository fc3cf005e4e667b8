// Package localapi serves the daemon's Unix socket: it checks that the caller
// is the same user, reads JSON-RPC 2.0 requests one object a line within fixed
// bounds, calls the Backend, and pushes events to subscribers. It owns one
// goroutine for each connection and waits for all of them; it keeps no state of
// its own.
package localapi
