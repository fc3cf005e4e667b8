// Package daemon puts the parts of the user's daemon together: it takes the
// profile's lock, opens store and keyring, runs an engine and a link for each
// account, serves the local socket, tells systemd how it is, and takes
// everything down in reverse order. It holds no logic of messages.
//
// Run owns every goroutine that it starts and waits for all of them. The
// Daemon's methods, which the socket's handlers call, are safe for concurrent
// use while Run runs.
package daemon
