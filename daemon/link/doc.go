// Package link carries all traffic between one device and its server: the
// contact and the replica connection with their fence, keep-alive, backoff and
// acknowledgements, and the REST calls. Nothing is sent on a connection before
// the server has proved, on that connection, that it belongs to the pinned
// realm; the system's certificate roots are never consulted.
//
// A Link owns its goroutines, which all end before Run returns; a Client has
// none. Both are safe for concurrent use. The package keeps nothing on disk:
// what must survive goes through the Handler.
package link
