// Package admin serves the administrator's calls on the server's Unix socket:
// invites, users, devices, statistics and health. The socket's file mode and
// the caller's uid are the authentication.
//
// A Server may be used concurrently and starts no goroutine; the listener
// belongs to the caller.
package admin
