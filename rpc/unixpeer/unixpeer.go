// Package unixpeer asks the kernel which user is at the other end of a Unix socket.
// The daemon, its clients and the server's admin socket use it: a path alone does not
// prove who listens there, nor who connects. It has no state.
package unixpeer
