// Package admin is the contract between an administrator's command line and a
// server: the bodies of HTTP+JSON calls over the server's own Unix socket, and
// a typed client. Who may open the socket, the file system decides; the server
// checks the caller's uid too.
//
// Requests are read strictly (package strict); readers of answers ignore members
// they do not know.
//
// A Client may be used concurrently and lives until Close.
package admin
