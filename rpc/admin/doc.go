// Package admin is the contract between an administrator's command line and a server: the bodies of
// HTTP+JSON calls over the server's Unix socket, and a typed client. The file system decides who may
// open the socket; the server also checks the caller's uid.
//
// Requests are decoded strictly (package strict). Clients ignore unknown members of responses.
//
// A Client is safe for concurrent use and lives until Close.
package admin
