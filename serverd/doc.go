// Package serverd assembles the server. Init creates its directory; Run serves the configured roles
// until its context ends. The packages below contain the logic; this one owns listeners, TLS, the admin
// socket, the directory's lock and the order of start and stop. Run waits for every goroutine that it
// starts.
package serverd
