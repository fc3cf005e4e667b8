// Package link carries all traffic between one device and its server: the contact and the
// replica connection with their fence, keep-alive, backoff and acknowledgements, and the
// REST calls. Nothing is sent on a connection before the server has proved on it that it
// belongs to the pinned realm. The system's root certificates are not used.
//
// A Link owns its goroutines, which have ended when Run returns; a Client has none. Both
// are safe for concurrent use. The package stores nothing on disk: durable state belongs to
// the Handler.
package link
