// Package daemon starts and stops the user's daemon: it takes the profile's
// lock, opens store and keyring, serves the local socket, reports to the service
// manager, and takes everything down in reverse order. It holds no logic of
// messages or accounts: requests go to package backend, accounts are run by
// package account.
//
// Run owns every goroutine that it starts and waits for all of them.
package daemon
