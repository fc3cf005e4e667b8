// Package localapi serves the daemon's Unix socket. It accepts only callers of the same
// user, reads JSON-RPC 2.0 requests, one object a line and within fixed limits, calls the
// Backend, and pushes events to subscribers. It owns one goroutine for each connection and
// waits for all of them. It has no state of its own.
package localapi
