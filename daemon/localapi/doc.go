// Package localapi serves the daemon's Unix socket. It accepts only callers of the same
// user, reads JSON-RPC 2.0 requests, one object a line and within fixed limits, calls the
// Backend, and pushes events to subscribers. It owns one goroutine for each connection and
// waits for all of them. It has no state of its own.
//
// The protocol is JSON-RPC 2.0, but not by a library such as creachadair/jrpc2. Four rules
// do not fit one: events reach a subscriber in order, where jrpc2 1.3 starts a
// goroutine for each push; calls of one connection begin in the order of their requests;
// unknown parameters are refused; and a call that sends or receives data owns its connection
// until the data ends. The data of files and calls travel on the same socket, as
// notifications that give a length, followed by so many bytes. HTTP would carry bodies
// without that, and Unix sockets can pass descriptors, but the local API promises JSON-RPC
// on every system, and Windows has no such descriptors.
package localapi
