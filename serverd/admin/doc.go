// Package admin serves the administrator's calls on the server's Unix socket: invites, users, devices,
// statistics and health. The socket's file mode and the caller's uid are the authentication.
//
// A Server is safe for concurrent use and starts no goroutine. The caller owns the listener.
package admin
